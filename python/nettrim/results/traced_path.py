"""The models of a path side by side: what each has left, and what that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..base.table import TableColumn, format_percent, format_table
from .accuracy import Accuracy
from .outcome import Outcome

__all__ = ["TracePoint", "TracedPath", "make_points"]

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
class TracedPath(Generic[Model]):
    """Models from careful to bold; ``print`` shows a table.

    Attributes
    ----------
    path : {"sparsity", "epsilon"}
        What the models differ by.
    results : tuple of Outcome
        One for each model, in the order of the path.
    points : tuple of TracePoint
        What is known of each.
    original_accuracy : float or None
        If labels were given.
    """

    path: str
    results: tuple[Outcome[Model], ...]
    points: tuple[TracePoint, ...]
    original_accuracy: float | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it: the last model is not finished, bolder ones were not begun."""
        return any(result.interrupted for result in self.results)

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
    def notes(self) -> list[str]:
        """What a reader has to know of the numbers."""
        notes = []
        if self.original_accuracy is not None:
            notes.append(f"Accuracy of the original: {format_percent(self.original_accuracy)}")
        if self._has("flips"):
            notes.append(
                "At most: of future samples, with 95% confidence for each model by itself; a model "
                "chosen by this table is promised nothing (nettrim.Promise chooses one with a "
                "promise)"
            )
        return notes

    def __str__(self) -> str:
        """Return the table."""
        columns = [TableColumn(self.path, "<"), *map(TableColumn, self.headings)]
        rows = [[f"{point.level:.4g}", *self.cells(point)] for point in self.points]
        table = format_table(columns, rows[:-1], rows[-1])
        return "\n".join([table, *self.notes])


def make_points(
    levels: Sequence[float], results: Sequence[Outcome[Model]], accuracies: Sequence[Accuracy]
) -> tuple[TracePoint, ...]:
    """Return what is known of each model; accuracies are one for each, or none."""
    after: list[float | None] = [accuracy.after for accuracy in accuracies]
    return tuple(map(_point, levels, results, after or [None] * len(results)))


def _point(level: float, result: Outcome[Model], accuracy: float | None) -> TracePoint:
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
