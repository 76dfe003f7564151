"""What report.json holds: dataclasses of its sections, their check and their JSON schema.

Numbers that could not be taken are None. Intervals hold the two ends for 95 % of resamples of whole
people. The schema ships as assets/report.schema.json.
"""

from oasis_utils.runtime.report.document import Report, checked, json_schema, plain, section
from oasis_utils.runtime.report.evaluation import (
    ControlResults,
    EstimateResults,
    EvaluationResults,
    EvaluationSummary,
    ReaderResults,
)
from oasis_utils.runtime.report.groups import AttributeResults, GapResults, GroupResults, GroupRow
from oasis_utils.runtime.report.heads import HeadComparisonResults, HeadResults, HeadSetResults
from oasis_utils.runtime.report.membership import (
    Alarm,
    AttackResults,
    MembershipResults,
    MembershipRow,
)
from oasis_utils.runtime.report.readers import KeyedTrial, ReaderAnswers, ReaderKey, TrialAnswer
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
    "Alarm",
    "AnomalyResults",
    "AttackResults",
    "AttributeResults",
    "CodebookResults",
    "CollapseResults",
    "ControlResults",
    "Crop",
    "DCGANResults",
    "DataResults",
    "EstimateResults",
    "EvaluationResults",
    "EvaluationSummary",
    "GapResults",
    "GroupResults",
    "GroupRow",
    "HeadComparisonResults",
    "HeadResults",
    "HeadSetResults",
    "KeyedTrial",
    "MembershipResults",
    "MembershipRow",
    "PixelCNNResults",
    "ReaderAnswers",
    "ReaderKey",
    "ReaderResults",
    "ReconstructionResults",
    "Report",
    "SamplingResults",
    "SplitSize",
    "TrialAnswer",
    "VQVAEResults",
    "checked",
    "json_schema",
    "plain",
    "section",
]
