"""The notebooks run in sequence, and what a run leaves: results and report."""

from oasis_utils.pipeline.results import collect_report, save_report, save_results

__all__ = ["collect_report", "save_report", "save_results"]
