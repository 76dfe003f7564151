"""What notebook 08 adds to a report, and the final table of a run."""

from __future__ import annotations

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
        {metric: {"value", "better", "reference", "which"}}; reference is the value of `which`.
    """
    rows = {**_reconstruction(report["reconstruction"]), **_likelihood(report)}
    people = report["evaluation"]["controls"]["other people"]["copy_gap"]
    for name, evaluation in report["priors"].items():
        title = PRIORS[name].__name__
        rows |= {f"{title}, {text}": row for text, row in _prior(evaluation, people).items()}
    return rows


def _row(value: Any, better: str, reference: Any = "", which: str = "") -> dict[str, Any]:
    return {"value": value, "better": better, "reference": reference, "which": which}


def _reconstruction(scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = {
        "ssim": "reconstruction SSIM",
        "brain_ssim": f"reconstruction SSIM in the {scores['region']}",
        "psnr": "reconstruction PSNR (dB)",
    }
    trivial = scores["trivial_baselines"]
    return {
        text: _row(scores[key], "higher", max(trivial[key].values()), "best trivial baseline")
        for key, text in names.items()
    }


def _likelihood(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    prior = report["pixelcnn"]
    return {
        "share of codes used": _row(report["codebook"]["used_fraction"], "higher"),
        "PixelCNN, nats per code": _row(
            prior["nats_per_code"],
            "lower",
            prior["markov_cell_nats"],
            "best baseline: Markov chain + cell",
        ),
        **{
            f"planted anomaly, {kind}, AUROC": _row(value, "higher", 0.5, "chance")
            for kind, value in report["anomalies"]["auroc"].items()
        },
    }


def _prior(evaluation: dict[str, Any], people: float) -> dict[str, dict[str, Any]]:
    rows = {}
    for text, key, better, ending in PRIOR_ROWS:
        reference = evaluation[key.removesuffix("_prior") + ending]
        rows[text] = _row(evaluation[key], better, reference, ending[1:].replace("_", " "))
    sides = evaluation["comparisons"]
    for key in ("precision", "recall", "coverage"):
        value, reference = (
            sides[side]["learned"][key]["value"] for side in ("decoded", "decoded_vs_decoded")
        )
        rows[f"{key} to decoded"] = _row(value, "higher", reference, "decoded vs decoded")
    generated, decoded = (
        evaluation["variety"][side]["pair_ms_ssim"]["value"] for side in ("generated", "decoded")
    )
    rows["MS-SSIM of pairs"] = _row(generated, "as reference", decoded, "decoded real slices")
    rows["copy gap"] = _row(evaluation["copy_gap"], "near 0", people, "other real people")
    return rows


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
