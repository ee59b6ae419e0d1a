"""How a result came about, as plain values: enough to get it again, and to know that one has.

A recipe is a dictionary that JSON can hold, so that every file a result is written to can carry it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .text import format_measured

DIGITS = 16  # of a hash that are enough to tell two apart by eye


def format_snippet(recipe: Mapping[str, Any]) -> str:
    """Return Python that repeats a run on the same ``model`` and ``X``, and checks them."""
    model, data = recipe["model"], recipe["calibration"]
    arguments = "".join(
        f"    {name}={_as_code(name, value)},\n" for name, value in recipe["arguments"].items()
    )
    held_out = "" if recipe["held_out"] is None else "    held_out=held_out,\n"
    measure = "    measure=measure,\n" if recipe.get("measured") else ""
    return (
        "import nettrim\n\n"
        f"result = nettrim.trim(\n    model,\n    X,\n{held_out}{measure}{arguments})\n"
        f'assert result.recipe["model"]["sha256"].startswith("{model["sha256"][:DIGITS]}")\n'
        f'assert result.recipe["calibration"]["sha256"].startswith("{data["sha256"][:DIGITS]}")\n'
    )


def _as_code(name: str, value: Any) -> str:
    """Return an argument as it is written; a goal is told as the call that makes it."""
    if name != "goal":
        return repr(value)
    call = re.sub("'<sha256 [0-9a-f]*>'", "labels", value)
    return "nettrim." + re.sub(r"path=(?=[A-Z])", "path=nettrim.", call)


def tolerance_of(recipe: Mapping[str, Any]) -> float:
    """Return the gap that layers were solved to; 0 if there is none."""
    own = recipe["arguments"].get("tol") or recipe.get("model of the path", {}).get("tol")
    return float(own or 0.0)


def format_summary(recipe: Mapping[str, Any]) -> str:
    """Return the recipe in a few lines of text."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in recipe["arguments"].items())
    untouched = recipe.get("untouched", [])
    left_alone = f"\nleft alone: {', '.join(w['name'] for w in untouched)}" if untouched else ""
    measured = "".join(_measured_line(*pair) for pair in recipe.get("measured", {}).items())
    return (
        f"trimmed on {recipe['date']} by nettrim {recipe['nettrim']}: {arguments}\n"
        f"original weights sha256 {recipe['model']['sha256']}\n"
        f"calibration data sha256 {recipe['calibration']['sha256']}{left_alone}{measured}"
        f"{_promise_line(recipe)}"
    )


def _measured_line(name: str, values: Mapping[str, float | None]) -> str:
    return f"\n{name} {format_measured(values['before'])}, after {format_measured(values['after'])}"


def _promise_line(recipe: Mapping[str, Any]) -> str:
    promise = recipe.get("promise")
    return "" if promise is None else f"\n{promise['sentence']}"
