"""Utility of generated slices: trained on them, tested on real people."""

from oasis_utils.evaluation.utility.study import utility
from oasis_utils.evaluation.utility.table import utility_groups, utility_rows, utility_verdicts

__all__ = ["utility", "utility_groups", "utility_rows", "utility_verdicts"]
