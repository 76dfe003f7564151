"""Copies, JSON forms and digests of configurations."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, get_type_hints


def override(config: Any, **changes: Any) -> Any:
    """A copy of a configuration with some fields changed.

    Args:
        config: Any configuration of this package.
        changes: New values by field name; None keeps the value of `config`.

    Returns:
        A new configuration of the same class.

    Raises:
        ValueError: A value is out of range.
        TypeError: The configuration has no such field.
    """
    return dataclasses.replace(config, **{k: v for k, v in changes.items() if v is not None})


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON types; tuples become lists.

    Args:
        config: Any configuration of this package, such as a whole `Profile`.

    Returns:
        {field: value}, nested for configurations inside it.
    """
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type, values: dict[str, Any]) -> Any:
    """The inverse of `to_dict`; missing fields take their defaults.

    Args:
        kind: Class of the configuration.
        values: {field: value}, as `to_dict` writes it.

    Returns:
        A configuration of that class.

    Raises:
        ValueError: A field is unknown, because it would silently change the model, or out of range.
    """
    unknown = set(values) - {f.name for f in dataclasses.fields(kind)}
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no field {', '.join(sorted(unknown))}: "
            "the file comes from another version of oasis_utils; train again or use that version"
        )
    hints = get_type_hints(kind)
    return kind(
        **{
            name: from_dict(hints[name], value) if dataclasses.is_dataclass(hints[name]) else value
            for name, value in values.items()
        }
    )


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that identify a configuration or any JSON value.

    Args:
        value: A configuration, or any JSON value; the order of keys does not matter.

    Returns:
        The beginning of the SHA-256 sum of the JSON text.
    """
    if dataclasses.is_dataclass(value):
        value = to_dict(value)
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
