"""The log, and bars on a terminal: what every report of progress is made of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["logger", "on_terminal"]

logger = logging.getLogger("nettrim")
logger.addHandler(logging.NullHandler())


@contextmanager
def on_terminal(enabled: bool) -> Iterator[Progress | None]:
    """Open bars of rich; None if they are not wanted, not installed, or nobody would see them."""
    console = _terminal() if enabled else None
    if console is None:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as bars:
        yield bars


def _terminal() -> Console | None:
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console(stderr=True)
    return console if console.is_terminal else None
