"""The notebooks run in sequence, what each opens first, and what a run leaves: results, report."""

from oasis_utils.pipeline.opening import OpenRun, open_run
from oasis_utils.pipeline.results import collect_report, save_report, save_results
from oasis_utils.pipeline.size_advice import size_advice

__all__ = [
    "OpenRun",
    "collect_report",
    "open_run",
    "save_report",
    "save_results",
    "size_advice",
]
