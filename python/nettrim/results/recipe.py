"""How a result came about, as plain values: what it takes to get it again, and to know that one has.

A recipe is a dictionary that JSON can hold, so that every file a result is written to can carry it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import scipy

from ..base.arguments import count_processors
from ..base.dispatch import build_info
from ..base.limits import MAX_ITER
from ..models.hashes import hash_of_data
from ..models.model_view import Untouched
from ..models.samples import Data, shape_of

DIGITS = 16  # of a hash that are enough to tell two apart by eye


def recipe_of(
    model: Any,
    hashes: Mapping[str, Any],
    X: Data,
    held_out: Data | None,
    arguments: Mapping[str, Any],
    untouched: Sequence[Untouched] = (),
) -> dict[str, Any]:
    """Write down a run of `nettrim.trim`.

    Parameters
    ----------
    model : object
        The original model.
    hashes : mapping
        What `nettrim.trimming.checkpoint.identity` says of the model and X.
    X : ndarray of shape (n_samples, ...)
    held_out : ndarray of shape (n, ...) or None
    arguments : mapping of str to plain values
        The keyword arguments of `nettrim.trim` on which the answer depends.
    untouched : sequence of Untouched, optional
        The weights that no prunable layer holds.

    Returns
    -------
    dict
        ``nettrim`` (its version), ``date``, ``model``, ``calibration`` and ``held_out`` (what they
        are, and SHA-256 hashes of their numbers), ``arguments`` with every default filled in,
        ``untouched`` (weights left alone, and why), and ``environment`` (versions, and how the compiled core was built).
    """
    build = build_info()
    return {
        "nettrim": build["version"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": {"type": _type_name(model), "sha256": hashes["weights of the model"]},
        "calibration": {"shape": shape_of(X), "sha256": hashes["data X"]},
        "held_out": None
        if held_out is None
        else {"shape": shape_of(held_out), "sha256": hash_of_data(held_out)},
        "arguments": _resolved(arguments),
        "untouched": [weight._asdict() for weight in untouched],
        "environment": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "build": build,
        },
    }


def snippet(recipe: Mapping[str, Any]) -> str:
    """Return Python that repeats a run on the same ``model`` and ``X``, and checks that they are."""
    model, data = recipe["model"], recipe["calibration"]
    arguments = "".join(f"    {name}={value!r},\n" for name, value in recipe["arguments"].items())
    held_out = "" if recipe["held_out"] is None else "    held_out=held_out,\n"
    return (
        "import nettrim\n\n"
        f"result = nettrim.trim(\n    model,\n    X,\n{held_out}{arguments})\n"
        f'assert result.recipe["model"]["sha256"].startswith("{model["sha256"][:DIGITS]}")\n'
        f'assert result.recipe["calibration"]["sha256"].startswith("{data["sha256"][:DIGITS]}")\n'
    )


def summary(recipe: Mapping[str, Any]) -> str:
    """Return the recipe in a few lines of text."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in recipe["arguments"].items())
    untouched = recipe.get("untouched", [])
    left_alone = f"\nleft alone: {', '.join(w['name'] for w in untouched)}" if untouched else ""
    return (
        f"trimmed on {recipe['date']} by nettrim {recipe['nettrim']}: {arguments}\n"
        f"original weights sha256 {recipe['model']['sha256']}\n"
        f"calibration data sha256 {recipe['calibration']['sha256']}{left_alone}"
    )


def _resolved(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults that are decided late; NumPy's numbers become Python's."""
    late = {"max_iter": MAX_ITER, "n_threads": count_processors()}
    filled = {name: late.get(name) if v is None else v for name, v in arguments.items()}
    return {name: v.item() if isinstance(v, np.generic) else v for name, v in filled.items()}


def _type_name(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"
