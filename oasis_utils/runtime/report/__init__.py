"""What report.json holds: dataclasses of its sections, their check and their JSON schema.

Numbers that could not be taken are None. Intervals hold the two ends for 95 % of resamples of whole
people. The schema ships as assets/report.schema.json.
"""

from oasis_utils.runtime.report.document import Report, checked, json_schema, plain, section
from oasis_utils.runtime.report.evaluation import (
    ControlResults,
    EvaluationResults,
    EvaluationSummary,
)
from oasis_utils.runtime.report.sections import (
    AnomalyResults,
    CodebookResults,
    CollapseResults,
    Crop,
    DataResults,
    DCGANResults,
    PixelCNNResults,
    ReconstructionResults,
    SamplingResults,
    SplitSize,
    VQVAEResults,
)

__all__ = [
    "AnomalyResults",
    "CodebookResults",
    "CollapseResults",
    "ControlResults",
    "Crop",
    "DCGANResults",
    "DataResults",
    "EvaluationResults",
    "EvaluationSummary",
    "PixelCNNResults",
    "ReconstructionResults",
    "Report",
    "SamplingResults",
    "SplitSize",
    "VQVAEResults",
    "checked",
    "json_schema",
    "plain",
    "section",
]
