"""The report of a trimmed network: one page that needs nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...base.storage import as_path, write_atomically
from .page import render_page
from .trace_page import render_trace_page

if TYPE_CHECKING:
    from ..accuracy import Accuracy
    from ..outcome import Outcome
    from ..traced_path import TracedPath

__all__ = ["check_page", "write", "write_trace"]

SUFFIXES = ("", ".html", ".htm")


def check_page(path: str | os.PathLike[str]) -> Path:
    """Return where a page will be written.

    Raises
    ------
    ValueError
        If the suffix is that of another kind of file.
    """
    place = as_path(path, "path")
    if place.suffix.lower() not in SUFFIXES:
        raise ValueError(f"path of a report must be .html or .htm, got {os.fspath(path)!r}")
    return place


def write(
    path: str | os.PathLike[str], result: Outcome[Any], accuracy: Accuracy | None = None
) -> None:
    """Write the page of a result whole or not at all."""
    with write_atomically(check_page(path)) as temporary:
        temporary.write_text(render_page(result, accuracy), encoding="utf-8")


def write_trace(path: str | os.PathLike[str], trace: TracedPath[Any]) -> None:
    """Write the page of a path whole or not at all."""
    with write_atomically(check_page(path)) as temporary:
        temporary.write_text(render_trace_page(trace), encoding="utf-8")
