"""What is promised of a trimmed model on future samples, and how it came about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..base.arrays import Array
from ..base.table import TableColumn, format_share, format_table
from ..promise.target import Target, format_level, format_seen

__all__ = ["PathModel", "PromiseReport", "say_unkept"]


@dataclass(frozen=True)
class PathModel:
    """A model that was tested on held-out samples.

    Attributes
    ----------
    level : float
        How bold it is: what the path is called, like its sparsity or epsilon.
    nonzeros, size : int
        Weights of the layers to be pruned: those left, and all there are.
    seen : float
        On the held-out samples: the mean of what they lost, which is the share that was beyond
        where samples are counted.
    p_value : float
        How unlikely that is if the promise would be broken.
    passed : bool
    """

    level: float
    nonzeros: int
    size: int
    seen: float
    p_value: float
    passed: bool


@dataclass(frozen=True)
class PromiseReport:
    """What is promised of a model, to what confidence, and by which tests; ``str`` says it.

    Attributes
    ----------
    kind : {"flips", "misses", "drop", "error"}
        Of what.
    level : float
        At most so much of it.
    quantile : float or None
        On so many of the future samples, of an error; None for the mean.
    confidence : float
    kept : bool
        Whether it is promised at all. If not the result is the most careful model that was tested.
    n_samples : int
        Held-out samples.
    seen : float
        What the model did to them, as the mean over all.
    path : {"sparsity", "epsilon", "size"}
        What the models of the path differ by.
    models : tuple of PathModel
        Those that were tested, in their order: the last one failed, unless none did. The last that
        passed is the one that is promised of.
    searched : tuple of (float, float)
        Where models were sought before, on calibration samples alone: how bold they were, and what
        they did to samples that were set aside.
    rows_needed : int or None
        Where nothing is promised: how many held-out samples that would take of a model that goes on
        as the most careful one did; None if no number is enough, or none up to a million.
    sentence : str
        All that in a sentence.
    """

    kind: str
    level: float
    quantile: float | None
    confidence: float
    kept: bool
    n_samples: int
    seen: float
    path: str
    models: tuple[PathModel, ...]
    searched: tuple[tuple[float, float], ...]
    rows_needed: int | None
    sentence: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.sentence

    @property
    def p_value(self) -> float:
        """How unlikely what was seen is if the promise would be broken; 1 if nothing was tested."""
        chosen = [model for model in self.models if model.passed] or list(self.models[:1])
        return chosen[-1].p_value if chosen else 1.0

    @property
    def table(self) -> str:
        """The models that were tested."""
        columns = [TableColumn(self.path, "<"), *map(TableColumn, ("kept", "seen", "p-value", ""))]
        rows = [
            [
                f"{model.level:.4g}",
                format_share(model.nonzeros, model.size),
                format_seen(model.seen),
                f"{model.p_value:.2g}",
                "passed" if model.passed else "failed",
            ]
            for model in self.models
        ]
        return format_table(columns, rows[:-1], rows[-1])

    @property
    def lines(self) -> list[str]:
        """The sentence and the table, as they are shown in text."""
        return ["", self.sentence, *([self.table] if self.models else [])]

    def as_plain(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {
            **vars(self),
            "seen": None if math.isnan(self.seen) else self.seen,
            "models": [dict(vars(model)) for model in self.models],
            "searched": [list(pair) for pair in self.searched],
        }


def say_unkept(target: Target, losses: Array | None, rows_needed: int | None) -> str:
    """Say in one sentence that nothing is promised, and what it would take.

    ``losses`` are of the most careful model, None if none was tested.
    """
    asked = f"{target.statement}, with {format_level(target.confidence)} confidence"
    if losses is None:
        return f"Nothing is promised, as no model was tested; it was asked that {asked}."
    way_out = "which no number of them, up to a million, makes up for"
    if rows_needed is not None:
        way_out = f"for which about {rows_needed:,} of them might be enough"
    seen = f"{format_seen(float(losses.mean()))} on {len(losses):,} held-out samples"
    return (
        f"Nothing is promised: it was asked that {asked}; the most careful model that was tested "
        f"is at {seen}, {way_out}."
    )
