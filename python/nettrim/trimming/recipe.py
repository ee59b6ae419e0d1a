"""How a result came about, written down when it does: what it takes to get it again.

A recipe is a dictionary that JSON can hold, so that every file a result is written to can carry it;
`nettrim.results.recipe` reads it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np
import scipy

from ..base.arguments import count_processors
from ..base.dispatch import build_info
from ..base.limits import MAX_ITER
from ..models.opened_model import OpenedModel

__all__ = ["make_recipe"]


def make_recipe(opened: OpenedModel[Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write down a run of `nettrim.trim`.

    Parameters
    ----------
    opened : OpenedModel
    arguments : mapping of str to plain values
        The keyword arguments of `nettrim.trim` on which the answer depends.

    Returns
    -------
    dict
        ``nettrim`` (its version), ``date``, ``model``, ``calibration`` and ``held_out`` (what they
        are, and SHA-256 hashes of their numbers), ``arguments`` with every default filled in,
        ``untouched`` (weights left alone, and why), and ``environment`` (versions, and how the
        compiled core was built).
    """
    build = build_info()
    return {
        "nettrim": build["version"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **opened.facts,
        "arguments": _resolve(arguments),
        "untouched": [weight._asdict() for weight in opened.untouched],
        "environment": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "build": build,
        },
    }


def _resolve(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults that are decided late; NumPy's numbers become Python's."""
    late = {"max_iter": MAX_ITER, "n_threads": count_processors()}
    filled = {name: late.get(name) if v is None else v for name, v in arguments.items()}
    return {name: v.item() if isinstance(v, np.generic) else v for name, v in filled.items()}
