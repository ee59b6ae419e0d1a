"""What a command owes to the process it runs in: signals, its output, warnings in one line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["Interrupts", "print_line", "report_problem", "warnings_in_lines"]

FAILED_BY_SIGNAL = 128  # exit statuses of commands that a signal ended are above this by its number


class Interrupts:
    """Makes SIGTERM an interrupt like Ctrl-C, and remembers which of the two came.

    Attributes
    ----------
    status : int
        What the command exits with.
    """

    def __init__(self) -> None:
        self.status = FAILED_BY_SIGNAL + signal.SIGINT

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take SIGTERM as long as the context lasts; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._terminate)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.status = FAILED_BY_SIGNAL + number
        raise KeyboardInterrupt


def print_line(text: object) -> None:
    """Print; where nobody reads it any more, that is no failure."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError, ValueError):
            os.dup2(
                nowhere, sys.stdout.fileno()
            )  # what is left in its buffer goes there at the end
        os.close(nowhere)


@contextlib.contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Let every warning be one line on stderr."""
    with warnings.catch_warnings():
        warnings.showwarning = _show
        yield


def report_problem(kind: str, what: object) -> None:
    """Say what is wrong, in one line on stderr."""
    print(f"nettrim: {kind}: {' '.join(str(what).split())}", file=sys.stderr)


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    report_problem("warning", message)
