"""What notebook 08 adds to a report, and the final table of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oasis_utils.evaluation.measured_sets import resolution
from oasis_utils.evaluation.reference import REAL_VS_REAL, Reference
from oasis_utils.models import PRIORS
from oasis_utils.runtime.report import EvaluationSummary, checked, plain

PRIOR_ROWS = (  # text, entry of an evaluation, better, ending of its reference
    ("KID to real", "kid", "lower", "_real_vs_real"),
    ("KID to decoded", "kid_prior", "lower", "_decoded_vs_decoded"),
    ("AUC to real", "two_sample_auc", "near 0.5", "_real_vs_real"),
    ("AUC to decoded", "two_sample_auc_prior", "near 0.5", "_decoded_vs_decoded"),
)


def final_rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of the final table.

    Args:
        report: A whole report, see `runtime.report.Report`.

    Returns:
        {metric: {"value", "95 %", "better", "reference", "which"}}; "95 %" holds the ends of the
        interval over people, None where there is none; reference is the value of `which`.
    """
    rows = {**_reconstruction(report["reconstruction"]), **_likelihood(report)}
    people = report["evaluation"]["controls"]["other people"]["copy_gap"]
    for name, evaluation in report["priors"].items():
        title = PRIORS[name].__name__
        rows |= {f"{title}, {text}": row for text, row in _prior(evaluation, people).items()}
    return rows


def _row(
    value: Any, ends: Sequence[float] | None, better: str, reference: Any = "", which: str = ""
) -> dict[str, Any]:
    return {
        "value": value,
        "95 %": ends,
        "better": better,
        "reference": reference,
        "which": which,
    }


def _reconstruction(scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = {
        "ssim": "reconstruction SSIM",
        "brain_ssim": f"reconstruction SSIM in the {scores['region']}",
        "psnr": "reconstruction PSNR (dB)",
    }
    trivial, ends = scores["trivial_baselines"], scores["intervals"]
    return {
        text: _row(
            scores[key], ends[key], "higher", max(trivial[key].values()), "best trivial baseline"
        )
        for key, text in names.items()
    }


def _likelihood(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    prior, anomalies = report["pixelcnn"], report["anomalies"]
    return {
        "share of codes used": _row(report["codebook"]["used_fraction"], None, "higher"),
        "PixelCNN, nats per code": _row(
            prior["nats_per_code"],
            prior["intervals"]["PixelCNN"],
            "lower",
            prior["markov_cell_nats"],
            "best baseline: Markov chain + cell",
        ),
        **{
            f"planted anomaly, {kind}, AUROC": _row(
                value, anomalies["intervals"][kind], "higher", 0.5, "chance"
            )
            for kind, value in anomalies["auroc"].items()
        },
    }


def _prior(evaluation: dict[str, Any], people: float) -> dict[str, dict[str, Any]]:
    rows = {}
    for text, key, better, ending in PRIOR_ROWS:
        reference, which = evaluation[key.removesuffix("_prior") + ending], ending[1:]
        ends = evaluation[f"{key}_interval"]
        rows[text] = _row(evaluation[key], ends, better, reference, which.replace("_", " "))
    sides, variety = evaluation["comparisons"], evaluation["variety"]
    for key in ("precision", "recall", "coverage"):
        found, reference = (
            sides[side]["learned"][key] for side in ("decoded", "decoded_vs_decoded")
        )
        rows[f"{key} to decoded"] = _row(
            *_both(found), "higher", reference["value"], "decoded vs decoded"
        )
    rows["MS-SSIM of pairs"] = _row(
        *_both(variety["generated"]["pair_ms_ssim"]),
        "as reference",
        variety["decoded"]["pair_ms_ssim"]["value"],
        "decoded real slices",
    )
    rows["copy gap"] = _row(evaluation["copy_gap"], None, "near 0", people, "other real people")
    return rows


def _both(found: dict[str, Any]) -> tuple[float, Sequence[float] | None]:
    return found["value"], found["interval"]


def summary_of(evaluations: dict[str, dict[str, Any]], reference: Reference) -> str:
    """One line for the table of a run: KID of each set and of the real comparisons.

    Args:
        evaluations: {set: evaluation}, see `evaluate_images`.
        reference: What they were compared with.

    Returns:
        Such as "KID pixelcnn 0.130, real vs real 0.002".
    """
    kids = [f"{name} {result['kid']:.3f}" for name, result in evaluations.items()]
    kids += [
        f"{name.replace('_', ' ')} {some['learned']['kid']['value']:.3f}"
        for name, some in reference.comparisons.items()
        if some
    ]
    return f"KID {', '.join(kids)}"


def evaluation_summary(
    reference: Reference,
    sensitivity: dict[str, dict[str, float]],
    controls: dict[str, dict[str, Any]],
) -> EvaluationSummary:
    """What holds for the evaluation of every prior.

    Args:
        reference: What the slices were compared with.
        sensitivity: {damage: {metric: shift}}, see `sensitivities`.
        controls: {set: the test for copies on slices whose answer is known}; their pairs are left
            out.

    Returns:
        The section `evaluation` of the report.
    """
    real = reference.comparisons[REAL_VS_REAL]
    value = {
        "compared": reference.n_images,
        "resolution": real and resolution(real),
        "sensitivity": sensitivity,
        "controls": {
            name: {key: item for key, item in test.items() if key != "suspicious_pairs"}
            for name, test in controls.items()
        },
        "seconds": reference.seconds,
    }
    return checked(EvaluationSummary, plain(value), "the section evaluation")
