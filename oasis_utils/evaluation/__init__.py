"""Evaluation of sets of slices against real ones: reference, scores, anomalies, verdicts."""

from oasis_utils.evaluation import model_card, verdicts
from oasis_utils.evaluation.evaluate import code_use, evaluate_images, generate, sensitivities
from oasis_utils.evaluation.final_table import final_rows, judgement_results, summary_of
from oasis_utils.evaluation.image_sets import load_images, require_images
from oasis_utils.evaluation.likelihood import prior_nats
from oasis_utils.evaluation.measured_sets import SPACES, resolution
from oasis_utils.evaluation.reconstruction import (
    judge_reconstruction,
    mean_image,
    position_means,
    reconstruct_split,
)
from oasis_utils.evaluation.reference import DECODED, PRIOR, REAL, TRAINING, Reference

__all__ = [
    "DECODED",
    "PRIOR",
    "REAL",
    "SPACES",
    "TRAINING",
    "Reference",
    "code_use",
    "evaluate_images",
    "final_rows",
    "generate",
    "judge_reconstruction",
    "judgement_results",
    "load_images",
    "mean_image",
    "model_card",
    "position_means",
    "prior_nats",
    "reconstruct_split",
    "require_images",
    "resolution",
    "sensitivities",
    "summary_of",
    "verdicts",
]
