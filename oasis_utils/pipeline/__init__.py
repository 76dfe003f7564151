"""The notebooks run in sequence, and what a run leaves: results and report."""

from oasis_utils.pipeline.runner import collect_report, save_headline

__all__ = ["collect_report", "save_headline"]
