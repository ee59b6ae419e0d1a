"""The models of a path side by side: what each has left, and what that does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ..base.arguments import show
from ..base.storage import as_path
from ..base.table import TableColumn, format_percent, format_table

if TYPE_CHECKING:
    from .accuracy import Accuracy
    from .trim_result import TrimResult

__all__ = ["NetworkTrace", "TracePoint"]

Model = TypeVar("Model")


@dataclass(frozen=True)
class TracePoint:
    """What is known of one model.

    Attributes
    ----------
    level : float
        Its sparsity, or its epsilon.
    kept : float
        Share of the weights of all prunable layers that is left.
    error, bound : float
        Of the network's output on the calibration samples: measured and proved.
    unseen : float or None
        Measured on held-out samples, like the next three; None without.
    flips : float or None
        Share of them whose largest output is another one than in the original network; None where
        no output is largest.
    flips_limit : float or None
        More future samples do not flip, with 95 % confidence for this model by itself.
    accuracy : float or None
        On them, if labels were given.
    """

    level: float
    kept: float
    error: float
    bound: float
    unseen: float | None = None
    flips: float | None = None
    flips_limit: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class NetworkTrace(Generic[Model]):
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

    path: str
    results: tuple[TrimResult[Model], ...]
    points: tuple[TracePoint, ...]
    original_accuracy: float | None = None

    @classmethod
    def of(
        cls,
        path: str,
        levels: Sequence[float],
        results: Sequence[TrimResult[Model]],
        accuracies: Sequence[Accuracy],
    ) -> NetworkTrace[Model]:
        """Put models side by side; accuracies are one for each, or none."""
        after: list[float | None] = [accuracy.after for accuracy in accuracies]
        points = map(_point, levels, results, after or [None] * len(results))
        original = accuracies[0].before if accuracies else None
        return cls(path, tuple(results), tuple(points), original)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it: the last model is not finished, bolder ones were not begun."""
        return any(result.interrupted for result in self.results)

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
            File to write, whole or not at all.
        """
        from .html import write_trace

        write_trace(as_path(path, "path"), self)

    @property
    def headings(self) -> list[str]:
        """What the columns of the table are called, beside that of the level."""
        unseen = ["unseen"] if self._has("unseen") else []
        flips = ["flips", "at most"] if self._has("flips") else []
        accuracy = ["accuracy"] if self._has("accuracy") else []
        return ["kept", "error", *unseen, "bound", *flips, *accuracy]

    def cells(self, point: TracePoint) -> list[str]:
        """Return the row of a model, beside its level."""
        known = {
            "unseen": point.unseen,
            "bound": point.bound,
            "flips": point.flips,
            "at most": point.flips_limit,
            "accuracy": point.accuracy,
            "kept": point.kept,
            "error": point.error,
        }
        return [format_percent(known[name]) for name in self.headings]

    def _has(self, name: str) -> bool:
        return any(getattr(point, name) is not None for point in self.points)

    @property
    def note(self) -> str:
        """What a reader has to know of the numbers."""
        if not self._has("flips"):
            return ""
        return (
            "at most: of future samples, with 95% confidence for each model by itself; a model "
            "chosen by this table is promised nothing (nettrim.Promise chooses one with a promise)"
        )

    def __str__(self) -> str:
        """Return the table."""
        columns = [TableColumn(self.path, "<"), *map(TableColumn, self.headings)]
        rows = [[f"{point.level:.4g}", *self.cells(point)] for point in self.points]
        table = format_table(columns, rows[:-1], rows[-1])
        return "\n".join([table, *filter(None, [self._original, self.note])])

    @property
    def _original(self) -> str:
        accuracy = self.original_accuracy
        return "" if accuracy is None else f"accuracy of the original: {format_percent(accuracy)}"


def _point(level: float, result: TrimResult[Model], accuracy: float | None) -> TracePoint:
    unseen = result.unseen
    flips = None if unseen is None or unseen.flips is None else unseen.flips / unseen.n_samples
    return TracePoint(
        level=level,
        kept=1 - result.sparsity,
        error=result.discrepancy,
        bound=result.bound,
        unseen=result.held_out_discrepancy,
        flips=flips,
        flips_limit=None if unseen is None else unseen.flips_limit,
        accuracy=accuracy,
    )
