"""Evaluation of sets of slices against real ones: reference, scores, anomalies, verdicts."""

from oasis_utils.evaluation import groups, membership, model_card, verdicts
from oasis_utils.evaluation.evaluate import code_use, evaluate_images, generate, sensitivities
from oasis_utils.evaluation.final_table import evaluation_summary, final_rows, summary_of
from oasis_utils.evaluation.giveaways import giveaway_rows
from oasis_utils.evaluation.groups import audit_groups, group_values
from oasis_utils.evaluation.head_results import HEAD_TABLES, head_rows
from oasis_utils.evaluation.heads import HeadReference, complete_stacks, judge_heads
from oasis_utils.evaluation.image_sets import load_images, require_images
from oasis_utils.evaluation.likelihood import prior_nats
from oasis_utils.evaluation.measured_sets import SPACES, resolution
from oasis_utils.evaluation.membership import audit_membership
from oasis_utils.evaluation.planting import pooled
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
from oasis_utils.evaluation.sample_sizes import enough_slices
from oasis_utils.evaluation.scorecard import scorecard_lines, scorecard_rows
from oasis_utils.evaluation.utility import (
    utility,
    utility_groups,
    utility_rows,
    utility_verdicts,
)
from oasis_utils.evaluation.verdicts import anatomy_rows, compare_priors, verdict_rows

__all__ = [
    "DECODED_VS_DECODED",
    "DECODED_VS_REAL",
    "HEAD_TABLES",
    "REAL_VS_REAL",
    "SPACES",
    "TRAINING_VS_REAL",
    "HeadReference",
    "Reference",
    "anatomy_rows",
    "audit_groups",
    "audit_membership",
    "code_use",
    "compare_priors",
    "complete_stacks",
    "enough_slices",
    "evaluate_images",
    "evaluation_summary",
    "final_rows",
    "generate",
    "giveaway_rows",
    "group_values",
    "groups",
    "head_rows",
    "judge_heads",
    "load_images",
    "mean_image",
    "membership",
    "model_card",
    "pooled",
    "position_means",
    "prior_nats",
    "reconstruct_split",
    "reference_rows",
    "require_images",
    "resolution",
    "score_reconstruction",
    "scorecard_lines",
    "scorecard_rows",
    "sensitivities",
    "summary_of",
    "utility",
    "utility_groups",
    "utility_rows",
    "utility_verdicts",
    "verdict_rows",
    "verdicts",
]
