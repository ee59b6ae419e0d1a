"""The two things data can do to a solver, each with a name of its own."""

from __future__ import annotations

__all__ = ["ConvergenceWarning", "InfeasibleError"]


class InfeasibleError(ValueError):
    """No weights satisfy the constraints; the message names the layer and the way out."""


class ConvergenceWarning(UserWarning):
    """A solve stopped before its certificate closed; its answer is flagged, not hidden."""
