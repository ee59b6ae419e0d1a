"""What data can do to a solver and to a network, each with a name of its own."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

__all__ = [
    "LARGE_ERROR",
    "CalibrationWarning",
    "ConvergenceWarning",
    "HeldOutWarning",
    "InfeasibleError",
    "LargeErrorWarning",
    "OutOfReachError",
    "PromiseWarning",
    "RecoveryWarning",
    "RuntimeMismatchWarning",
    "warn_user",
]

LARGE_ERROR = 0.5  # relative to an output: of one that moved so far little may be left


class InfeasibleError(ValueError):
    """No weights satisfy the constraints; the message names the layer and the way out."""


class OutOfReachError(ValueError):
    """A model cannot have the size that was asked for; others on a path may have theirs.

    Attributes
    ----------
    too_bold : bool
        Whether more careful models are within reach, or bolder ones.
    """

    def __init__(self, message: str, *, too_bold: bool) -> None:
        super().__init__(message)
        self.too_bold = too_bold


class ConvergenceWarning(UserWarning):
    """A solve stopped before its certificate closed; its answer is flagged, not hidden."""


class LargeErrorWarning(UserWarning):
    """The trimmed network may do nothing of what the original one did: an error passed 50 %."""


class CalibrationWarning(UserWarning):
    """A layer met fewer different active rows than it has inputs: its sparsity says little."""


class HeldOutWarning(UserWarning):
    """Held-out samples say less of unseen ones than they could: some are copies, for example."""


class PromiseWarning(UserWarning):
    """No model of a path keeps the promise that was asked for, or none but the original."""


class RecoveryWarning(UserWarning):
    """Signals were found, with proof, that need not be those whose product was measured."""


class RuntimeMismatchWarning(UserWarning):
    """The framework computes something else than the arithmetic that was measured and bounded."""


def warn_user(text: str, kind: type[Warning] = UserWarning) -> None:
    """Warn at the line outside this package that called it, however deep the warning arises."""
    inside = (__name__.partition(".")[0], "functools")  # which calls what a type stands for
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _package_of(frame) in inside:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, kind, stacklevel=level)


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
