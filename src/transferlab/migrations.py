"""Records of older schemas, brought to today's shape one version at a time. No torch."""

from collections.abc import Callable
from typing import Any

from transferlab.errors import InputError

SCHEMA = 2


def migrated(record: dict[str, Any]) -> dict[str, Any]:
    """The record as today's code would have written it; what was not measured then is null.

    Raises:
        InputError: it says no schema, or that of a newer transferlab.
    """
    schema = record.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise InputError(f"its schema is {schema!r}, where a version from 1 to {SCHEMA} is expected")
    if schema > SCHEMA:
        raise InputError(f"it was written by a newer transferlab (schema {schema}, this one reads up to {SCHEMA})")
    for version in range(schema, SCHEMA):
        record = _STEPS[version]({**record, "schema": version + 1})
    return record


def _to_2(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 adds what diagnostics found at the run's end, and what they cost."""
    cost = record.get("cost") or {}
    if isinstance(cost, dict):  # else it is no record, which its reader says
        cost = {"diagnostics_seconds": None, **cost}
    return {"forgetting": None, "saliency": None, **record, "cost": cost}


_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _to_2}
