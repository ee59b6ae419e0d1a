"""What a method is, and what a run lends to it.

`nettrim.trimming.walk.Walk` owns the order of the layers, checkpoints, progress and Ctrl-C. A
method poses and solves one layer after the other, and says what can be proved of them beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array
from ...base.errors import CalibrationWarning, warn_user
from ...base.stopwatch import Stopwatch
from ...models.layer_view import LayerView, Signal
from ...models.model_view import ModelView
from ...models.opened_model import OpenedModel
from ...models.samples import Data
from ...results.widths import Widths
from ..bounds import Prospect
from ..progress import Reporter
from ..solved_layer import SolvedLayer
from .layer_program import LayerProgram

__all__ = ["SOLVING", "Delivery", "LayerPosition", "LayerTask", "Method", "RowSample", "Run"]

SOLVING = "solving"  # the stage of a run that layers' own seconds tell of

MOST_HELD = 1 << 29  # bytes of the original model's signals


class RowSample(NamedTuple):
    """Which rows of a layer are solved for."""

    max_patches: int
    seed: int

    def rows(
        self, layer: LayerView, position: int, values: Array, n_samples: int
    ) -> NDArray[np.intp] | None:
        """Return their numbers in order, None for all of them: one for each sample, or few."""
        total = layer.count_rows(values)
        count = self.solved_rows(total, n_samples)
        if count == total:
            return None
        random = np.random.default_rng([self.seed, position])
        return np.sort(random.choice(total, count, replace=False))

    def solved_rows(self, total: int, n_samples: int) -> int:
        """Return how many of a layer's rows are solved for."""
        return total if total <= max(n_samples, self.max_patches) else self.max_patches


class LayerPosition(NamedTuple):
    """Where a layer stands among those that are pruned: whether none reaches it, or follows."""

    first: bool
    last: bool


class LayerTask(NamedTuple):
    """A layer to be solved: its rows in the original network, and in the one trimmed so far.

    `with_same_input` returns the task of another layer, by its position, if it sees the same.
    """

    position: int
    layer: LayerView
    place: LayerPosition
    original: Array
    current: Array
    with_same_input: Callable[[int], LayerTask]


@dataclass(frozen=True)
class Run:
    """What all parts of a run have in common.

    Attributes
    ----------
    opened : OpenedModel
    chosen : sequence of int
        Positions of the layers to be pruned, in order.
    counted : sequence of int
        Which of the model's outputs count.
    draw : RowSample
    n_threads : int or None
        None for every processor.
    report : Reporter
    watch : Stopwatch
    by_answers : bool
        Whether nothing counts of the first output but which of its entries is largest.
    warned : set of type
        What has been warned of; once is enough.
    held : list of Signal
        See `original_signals`.
    """

    opened: OpenedModel[Any]
    chosen: Sequence[int]
    counted: Sequence[int]
    draw: RowSample
    n_threads: int | None
    report: Reporter
    watch: Stopwatch
    by_answers: bool = False
    warned: set[type[Warning]] = field(default_factory=set)
    held: list[Signal] = field(default_factory=list)

    @property
    def view(self) -> ModelView:
        """The view of the model."""
        return self.opened.view

    @property
    def layers(self) -> Sequence[LayerView]:
        """Its prunable layers."""
        return self.opened.layers

    @property
    def data(self) -> Data:
        """The calibration data."""
        return self.opened.data

    def original_signals(self) -> Iterator[Signal]:
        """Walk the calibration data through the original model, for one of many trimmed ones.

        The first signals are held for the next, as many as are moderate beside what a walk holds.
        """
        yield from [*self.held]
        for position, signal in enumerate(self.view.signals(self.data, {})):
            if position < len(self.held):
                continue
            size = sum(one.values.nbytes for one in [*self.held, signal])
            if position == len(self.held) and size <= MOST_HELD:
                self.held.append(signal)
            yield signal

    def is_last(self, position: int) -> bool:
        """Tell whether a layer is the last of the chosen ones."""
        return position == self.chosen[-1]

    def task(
        self, position: int, original: Signal, current: Signal, *, first: bool = True
    ) -> LayerTask:
        """Return a layer with the rows that are drawn for it."""
        layer = self.layers[position]
        chosen = self.draw.rows(layer, position, original.values, len(self.data))
        before = layer.chosen_rows(original.values, chosen)
        now = before if current is original else layer.chosen_rows(current.values, chosen)
        place = LayerPosition(first, self.is_last(position))
        return LayerTask(
            position,
            layer,
            place,
            before,
            now,
            lambda other: self.task(other, original, current, first=first),
        )

    def count_active_rows(self, task: LayerTask, program: LayerProgram) -> int:
        """Count the rows a layer's program stands on, and say if they are few."""
        active_rows, n_features = program.count_active_rows(task.original), task.layer.shape[0]
        if active_rows < n_features:
            self.warn_once(
                CalibrationWarning,
                f"layer {task.layer.name!r} has {n_features:,} inputs, and half of its outputs are "
                f"active on at most {active_rows:,} different rows of the calibration data: what "
                "is sparse on so few may be sparse without meaning. Give more samples, and "
                "held_out to see",
            )
        return active_rows

    @contextmanager
    def hushed(self, kind: type[Warning]) -> Iterator[None]:
        """Warn of a kind of thing again only when this is left: of models nobody will get."""
        before = kind in self.warned
        self.warned.add(kind)
        yield
        if not before:
            self.warned.discard(kind)

    def warn_once(self, kind: type[Warning], text: str) -> None:
        """Warn of a kind of thing, unless it has been warned of."""
        if kind not in self.warned:
            self.warned.add(kind)
            warn_user(text, kind)


class Delivery(NamedTuple):
    """What the user gets.

    Attributes
    ----------
    model : object
    widths : Widths or None
        None where no unit was to go.
    """

    model: Any
    widths: Widths | None = None


class Method(Protocol):
    """How the layers of a run are solved; a subclass defines what has no default here.

    Attributes
    ----------
    cascaded : bool
        Whether layers see the outputs of the trimmed ones in front of them.
    """

    cascaded: bool

    def prepare(self) -> None:
        """Do what must be done before the first layer is solved."""

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        """Yield positions of layers and their answers.

        The next task is as it should be only when the answer before has been kept, unless the
        method does not look at the trimmed signals. An interrupted layer has the status
        "interrupted"; nothing need follow it.
        """
        ...

    def details(self, position: int) -> dict[str, Any]:
        """Return what this layer's answer depends on beside the options of the run."""
        return {}

    def prospect(self, position: int) -> Prospect | None:
        """Return what is known of a layer's error before it is solved."""
        return None

    def outputs_left(self, position: int) -> NDArray[np.bool_] | None:
        """Return which outputs of a layer any other reads; None for all of them."""
        return None

    def deliver(self, model: Any) -> Delivery:
        """Return what the user gets for a model with the answers in place of its weights."""
        return Delivery(model)
