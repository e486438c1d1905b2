"""The schema of a dry run's JSON, held against what is really printed."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from databases import ROOT

SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "dry-run.schema.json").read_text("utf-8"))


def check(facts: dict[str, Any]) -> None:
    """See that a dry run's output is as documented, and that all of it is documented."""
    error = next(iter(Draft202012Validator(_closed(SCHEMA)).iter_errors(facts)), None)
    assert error is None, _told(error)


def _closed(part: Any) -> Any:
    """The schema without room for properties that it does not name."""
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(one) for name, one in part.items()}
    if part.get("type") == "object" and "additionalProperties" not in part:
        closed["additionalProperties"] = False
    return closed


def _told(error: Any) -> str:
    # of the alternatives, the one that comes closest says what is wrong
    while error.context:
        error = max(error.context, key=lambda one: len(one.absolute_path))
    return f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
