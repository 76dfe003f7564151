"""The whole report, its JSON schema, and the check of a part of it."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from oasis_utils.runtime.report.evaluation import EvaluationResults, EvaluationSummary
from oasis_utils.runtime.report.fields import Strict
from oasis_utils.runtime.report.groups import GroupResults
from oasis_utils.runtime.report.heads import HeadResults
from oasis_utils.runtime.report.membership import MembershipResults
from oasis_utils.runtime.report.sections import (
    AnomalyResults,
    CodebookResults,
    DataResults,
    DCGANResults,
    PixelCNNResults,
    ReconstructionResults,
    SamplingResults,
    VQVAEResults,
)
from oasis_utils.runtime.report.utility import UtilityResults


@dataclass(frozen=True)
class Report(Strict):
    """report.json. A section is None until its notebook has run.

    Attributes:
        schema: Always "oasis_utils.report".
        version: Of this form.
        profile: Name of the profile.
        provenance: Versions, hardware, precision, seed and revision.
        data: By notebook 01.
        reconstruction: By notebook 02, as the two next.
        vqvae: The tokeniser.
        codebook: By notebook 03.
        dcgan: By notebook 04.
        pixelcnn: By notebook 05.
        anomalies: By notebook 06.
        sampling: By notebook 07.
        priors: {prior: evaluation of its slices}, by notebook 08.
        evaluation: By notebook 08, what holds for every prior.
        membership: By notebook 09, as the two next.
        utility: Models trained on generated slices.
        groups: Metrics by age, sex and diagnosis.
        heads: {prior: whole heads of it beside real ones}, by notebook 10.
        seconds: {notebook: wall time}, and their total.
    """

    schema: Literal["oasis_utils.report"] = "oasis_utils.report"
    version: Literal[1] = 1
    profile: str | None = None
    provenance: dict[str, str | int | None] = field(default_factory=dict)
    data: DataResults | None = None
    reconstruction: ReconstructionResults | None = None
    vqvae: VQVAEResults | None = None
    codebook: CodebookResults | None = None
    dcgan: DCGANResults | None = None
    pixelcnn: PixelCNNResults | None = None
    anomalies: AnomalyResults | None = None
    sampling: SamplingResults | None = None
    priors: dict[str, EvaluationResults] = field(default_factory=dict)
    evaluation: EvaluationSummary | None = None
    membership: MembershipResults | None = None
    utility: UtilityResults | None = None
    groups: GroupResults | None = None
    heads: dict[str, HeadResults] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def plain(value: Any) -> Any:
    """Dataclasses and what they hold as JSON values.

    Numbers that are not finite become None, and so does a tuple with one: an interval needs both
    ends.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, tuple) and not all(
        math.isfinite(item) for item in value if isinstance(item, float)
    ):
        return None
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@functools.cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # slow to import

    return TypeAdapter(kind)


def checked(kind: Any, value: Any, what: str) -> Any:
    """A JSON value as the type that describes it.

    Args:
        kind: A dataclass, or another type that pydantic knows.
        value: A dictionary as `plain` makes it or as JSON holds it.
        what: How the message names the value, such as "an evaluation".

    Returns:
        An instance of kind.

    Raises:
        ValueError: The first entry that is missing, unknown or of another form.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        first, others = error.errors()[0], error.error_count() - 1
        entry = ".".join(map(str, first["loc"])) or "value"
        raise ValueError(
            f"{what}: {entry!r}: {first['msg'].lower()}"
            + (f", and {others} more" if others else "")
            + ": write it with this version of oasis_utils"
        ) from None


def section(name: str, value: Any) -> Any:
    """One entry of a report as JSON holds it.

    Args:
        name: A field of `Report`.
        value: A dataclass, or what `plain` turns into the entry's form.

    Returns:
        The checked entry.

    Raises:
        ValueError: No such entry, or its value is not of its form.
    """
    names = [entry.name for entry in dataclasses.fields(Report)]
    if name not in names:
        raise ValueError(f"a report has no entry {name!r}: choose one of {', '.join(names)}")
    kind = get_type_hints(Report, include_extras=True)[name]
    return plain(checked(kind, plain(value), name))


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of report.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "OASIS-VQ report",
        **_adapter(Report).json_schema(),
    }
