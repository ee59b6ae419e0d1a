"""Arguments that name files and folders."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["path_of"]


def path_of(value: object, name: str) -> Path:
    """Return an argument as a path.

    Raises
    ------
    TypeError
        If it is neither text nor path-like. The message starts with ``name``.
    ValueError
        If it is empty, or holds a character that no path can have.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path, got {type(value).__name__}")
    path = os.fspath(value)
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path of text, got {type(path).__name__}")
    if not path or "\0" in path:
        raise ValueError(f"{name} must be a path, got {path!r}")
    return Path(path)
