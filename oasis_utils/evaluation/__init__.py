"""Sets of slices judged against real ones: reference, scores, anomalies, verdicts."""

from oasis_utils.evaluation import verdicts
from oasis_utils.evaluation.evaluate import (
    code_use,
    evaluate_images,
    generate,
    judge_reconstruction,
    mean_image,
    position_means,
    reconstruct_split,
    sensitivities,
)
from oasis_utils.evaluation.likelihood import prior_nats
from oasis_utils.evaluation.reference import (
    DECODED,
    PRIOR,
    REAL,
    SPACES,
    TRAINING,
    Reference,
    resolution,
)

__all__ = [
    "DECODED",
    "PRIOR",
    "REAL",
    "SPACES",
    "TRAINING",
    "Reference",
    "code_use",
    "evaluate_images",
    "generate",
    "judge_reconstruction",
    "mean_image",
    "position_means",
    "prior_nats",
    "reconstruct_split",
    "resolution",
    "sensitivities",
    "verdicts",
]
