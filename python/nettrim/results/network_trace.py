"""The result of `nettrim.trace_network`: models of a path, shown, drawn and taken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..base.arguments import show
from .accuracy import Accuracy
from .traced_path import TracedPath, make_points

if TYPE_CHECKING:
    from .trim_result import TrimResult

__all__ = ["NetworkTrace"]

Model = TypeVar("Model")


@dataclass(frozen=True)
class NetworkTrace(TracedPath[Model]):
    """Models from careful to bold; ``print`` shows a table, `at` returns one of them.

    Attributes
    ----------
    path : {"sparsity", "epsilon"}
        What the models differ by.
    results : tuple of TrimResult
        One for each model, in the order of the path.
    points : tuple of TracePoint
        What is known of each.
    original_accuracy : float or None
        If labels were given.
    """

    results: tuple[TrimResult[Model], ...]

    @classmethod
    def of(
        cls,
        path: str,
        levels: Sequence[float],
        results: Sequence[TrimResult[Model]],
        accuracies: Sequence[Accuracy],
    ) -> NetworkTrace[Model]:
        """Put models side by side; accuracies are one for each, or none."""
        original = accuracies[0].before if accuracies else None
        return cls(path, tuple(results), make_points(levels, results, accuracies), original)

    def at(self, level: float) -> TrimResult[Model]:
        """Return the model of a level.

        Raises
        ------
        ValueError
            If there is none of that level.

        Examples
        --------
        >>> import nettrim
        >>> from nettrim.demo import load_digits
        >>> digits = load_digits()
        >>> trace = nettrim.trace_network(
        ...     digits.network, digits.X, sparsities=[0.5, 0.9], progress=False
        ... )
        >>> round(trace.at(0.9).sparsity, 2)
        0.9
        """
        for point, result in zip(self.points, self.results, strict=True):
            if point.level == level:
                return result
        there = [point.level for point in self.points]
        raise ValueError(f"level: there are models of {self.path} {there}, got {show(level)}")

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw errors and flips against the weights kept, with what future samples may flip.

        Parameters
        ----------
        path : str or path-like
            File to write; the suffix chooses the format (.png, .pdf, .svg).

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from .network_trace_plot import plot_network_trace

        plot_network_trace(path, self)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a page with the table and its charts: one HTML file that needs nothing else.

        Parameters
        ----------
        path : str or path-like
            File to write, whole or not at all: .html, .htm, or a name without a suffix.
        """
        from .html import write_trace

        write_trace(path, self)
