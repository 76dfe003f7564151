"""What notebook 08 adds to a report, and the final table of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oasis_utils.evaluation.measured_sets import resolution
from oasis_utils.evaluation.model_card import cell
from oasis_utils.evaluation.reference import REAL_VS_REAL, Reference
from oasis_utils.runtime.report import EvaluationSummary, checked, plain


def final_rows(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the notebooks before the evaluation measured on the models, as a table.

    Args:
        report: See `runtime.report.Report`; sections of notebooks that did not run have no rows.

    Returns:
        {metric: {"value", "better", "reference", "which"}}; value and reference with 95 % intervals
        over people in brackets where these are known, reference is the value of `which`.
    """
    parts = {
        "reconstruction": _reconstruction,
        "codebook": _codebook,
        "pixelcnn": _likelihood,
        "anomalies": _anomalies,
    }
    known = {name: rows for name, rows in parts.items() if name in report}
    return {text: row for name, rows in known.items() for text, row in rows(report[name]).items()}


def _row(
    value: float,
    ends: Sequence[float] | None,
    better: str,
    reference: float | None = None,
    which: str = "",
    ends_of_reference: Sequence[float] | None = None,
) -> dict[str, str]:
    return {
        "value": cell({"value": value, "interval": ends}),
        "better": better,
        "reference": cell({"value": reference, "interval": ends_of_reference}),
        "which": which,
    }


def _reconstruction(scores: dict[str, Any]) -> dict[str, dict[str, str]]:
    names = {
        "ssim": "reconstruction SSIM",
        "brain_ssim": f"reconstruction SSIM in the {scores['region']}",
        "psnr": "reconstruction PSNR (dB)",
    }
    rows = {}
    for key, text in names.items():
        trivial = scores["trivial_baselines"][key]
        best = max(trivial, key=trivial.__getitem__)
        which = f"{best.replace('_', ' ')} image, the best trivial baseline"
        rows[text] = _row(scores[key], scores["intervals"][key], "higher", trivial[best], which)
    return rows


def _codebook(used: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {"share of codes used": _row(used["used_fraction"], None, "higher")}


def _likelihood(prior: dict[str, Any]) -> dict[str, dict[str, str]]:
    ends = prior["intervals"]
    return {
        "PixelCNN, nats per code": _row(
            prior["nats_per_code"],
            ends["PixelCNN"],
            "lower",
            prior["markov_cell_nats"],
            "Markov chain with the cell",
            ends["Markov chain + cell"],
        )
    }


def _anomalies(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {
        f"planted anomaly, {kind}, AUROC": _row(
            value, found["intervals"][kind], "higher", 0.5, "chance"
        )
        for kind, value in found["auroc"].items()
    }


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
