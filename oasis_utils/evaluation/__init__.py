"""Evaluation of sets of slices against real ones: reference, scores, anomalies, verdicts."""

from oasis_utils.evaluation import model_card, verdicts
from oasis_utils.evaluation.evaluate import code_use, evaluate_images, generate, sensitivities
from oasis_utils.evaluation.final_table import evaluation_summary, final_rows, summary_of
from oasis_utils.evaluation.giveaways import giveaway_rows
from oasis_utils.evaluation.image_sets import load_images, require_images
from oasis_utils.evaluation.likelihood import prior_nats
from oasis_utils.evaluation.measured_sets import SPACES, resolution
from oasis_utils.evaluation.reconstruction import (
    mean_image,
    position_means,
    reconstruct_split,
    score_reconstruction,
)
from oasis_utils.evaluation.reference import (
    DECODED_VS_DECODED,
    DECODED_VS_REAL,
    REAL_VS_REAL,
    TRAINING_VS_REAL,
    Reference,
    reference_rows,
)
from oasis_utils.evaluation.verdicts import compare_priors, verdict_rows

__all__ = [
    "DECODED_VS_DECODED",
    "DECODED_VS_REAL",
    "REAL_VS_REAL",
    "SPACES",
    "TRAINING_VS_REAL",
    "Reference",
    "code_use",
    "compare_priors",
    "evaluate_images",
    "evaluation_summary",
    "final_rows",
    "generate",
    "giveaway_rows",
    "load_images",
    "mean_image",
    "model_card",
    "position_means",
    "prior_nats",
    "reconstruct_split",
    "reference_rows",
    "require_images",
    "resolution",
    "score_reconstruction",
    "sensitivities",
    "summary_of",
    "verdict_rows",
    "verdicts",
]
