"""One walk over a model: each layer met in order, solved or taken from the checkpoint, and kept.

The walk knows no framework (see `nettrim.models.model_view`) and no optimisation (see
`nettrim.trimming.methods`); the layers behind see what it put in place of those in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.arrays import AnyFloat
from ..models.layer_view import Affine
from .bounds import Comparison, SignalBounds, Trimmed, measure_changes, walk_side_by_side
from .checkpoint import Checkpoint
from .methods.method import Delivery, LayerTask, Method, Run
from .solved_layer import SolvedLayer

__all__ = ["Walk"]

NOTHING = np.empty((0, 0))


@dataclass
class Walk:
    """One pass over a model: the layers solved so far, and how the next ones are reached.

    Attributes
    ----------
    run : Run
    method : Method
    store : Checkpoint or None
    measures : bool
        Whether a cascade measures on its way how far signals move, which takes more runs of the
        model. Of models among which one is chosen, that one is measured afterwards.
    solved : dict of SolvedLayer
        By position, without their weights.
    weights : dict of Affine
        What is put in place of those layers; signals look it up as the walk goes on.
    measured : list of SignalBounds
        How far every signal moved, if the walk saw it in both networks: in a cascade, to its end.
    interrupted : bool
    """

    run: Run
    method: Method
    store: Checkpoint | None
    measures: bool = True
    solved: dict[int, SolvedLayer] = field(default_factory=dict, init=False)
    weights: dict[int, Affine] = field(default_factory=dict, init=False)
    measured: list[SignalBounds] = field(default_factory=list, init=False)
    interrupted: bool = field(default=False, init=False)

    def go(self) -> None:
        """Solve the chosen layers; Ctrl-C ends it and leaves what is finished."""
        try:
            self.method.prepare()
            for position, solved in self.method.solve(self._tasks()):
                if solved.status == "interrupted":
                    self.interrupted = True
                else:
                    self._finish(position, solved)
        except KeyboardInterrupt:
            self.interrupted = True

    def trimmed(self) -> dict[int, Trimmed]:
        """Return what the bounds need to know of each solved layer."""
        return {
            position: Trimmed(
                affine=affine,
                cascaded=self.method.cascaded,
                epsilon=self.solved[position].radius or 0.0,
                prospect=self.method.prospect(position),
                outputs=self._outputs_left(position),
            )
            for position, affine in self.weights.items()
        }

    def deliver(self) -> Delivery:
        """Return the model with the answers in it, as the user gets it."""
        model = self.run.view.with_weights(self.weights)
        return Delivery(model) if self._is_partial else self.method.deliver(model)

    @property
    def _is_partial(self) -> bool:
        """Whether Ctrl-C left layers as they were, which read all that they did."""
        return self.interrupted and any(p not in self.solved for p in self.run.chosen)

    def _outputs_left(self, position: int) -> NDArray[np.bool_] | None:
        return None if self._is_partial else self.method.outputs_left(position)

    def weights_left(self, position: int) -> AnyFloat:
        """Return the weights of a layer as they are by now, of those outputs that are left."""
        affine = self.weights.get(position, self.run.layers[position].affine)
        outputs = self._outputs_left(position) if position in self.weights else None
        return affine.weights if outputs is None else affine.weights[:, outputs]

    def nonzeros(self) -> int:
        """Count the weights that the chosen layers have left."""
        return sum(int(np.count_nonzero(self.weights_left(p))) for p in self.run.chosen)

    def network_error(self) -> float:
        """Measure how far the outputs that count moved, relative to their size, on the data."""
        n_layers = len(self.run.layers)
        if self.measured:
            changes = [signal.change for signal in self.measured]
        else:
            changes = list(measure_changes(self.run.view, self.trimmed(), self.run.data))
        moved = [changes[n_layers + number].relative for number in self.run.counted]
        return float(np.sqrt(np.mean(np.square(moved))))

    def _tasks(self) -> Iterator[LayerTask]:
        """Yield the chosen layers that no checkpoint holds, as data meet them."""
        if self.method.cascaded:
            yield from self._tasks_of_cascade()
            return
        for position, original in enumerate(self.run.view.signals(self.run.data, {})):
            if position in self.run.chosen and not self._resume(position):
                yield self.run.task(position, original, original)
            if position == self.run.chosen[-1]:
                return

    def _tasks_of_cascade(self) -> Iterator[LayerTask]:
        """Walk through the original and the trimmed model, and measure on the way if asked to."""
        comparison, measured = Comparison(self.run.layers, self.run.chosen), []
        moved_since = False
        before = None if self.measures else self.run.original_signals()
        with walk_side_by_side(self.run.view, self.run.data, self.weights, before) as walks:
            for position, (original, current) in enumerate(walks):
                if position in self.run.chosen and not self._resume(position):
                    first = current is original or not comparison.reaches(original)
                    yield self.run.task(position, original, current, first=first)
                if not self.measures:
                    if position == self.run.chosen[-1]:
                        return
                    comparison.pass_over(position, original)
                    continue
                trimmed = self.trimmed().get(position)
                measured.append(comparison.measure(position, original, current, trimmed))
                # What arrives at a recurrent layer is another one with the weights it got here.
                moved_since |= any(k >= position for k in original.lipschitz)
        if not moved_since:
            self.measured = measured

    def _resume(self, position: int) -> bool:
        """Take a layer from the checkpoint, if it is there."""
        solved = self.store.load(position, self._details(position)) if self.store else None
        if solved is None:
            return False
        layer = self.run.layers[position]
        self.run.report.start(layer.name, layer.shape)
        self._keep(position, solved)
        self.run.report.finish(solved, resumed=True)
        return True

    def _finish(self, position: int, solved: SolvedLayer) -> None:
        """Keep an answer, here and in the checkpoint."""
        self._keep(position, solved)
        if self.store:
            self.store.save(position, self._details(position), solved)
        self.run.report.finish(solved, resumed=False)

    def _keep(self, position: int, solved: SolvedLayer) -> None:
        answer = self.run.layers[position].affine.replaced(solved.weights)
        self.weights[position] = self.run.view.keep(position, answer)
        self.solved[position] = replace(solved, weights=NOTHING)

    def _details(self, position: int) -> dict[str, Any]:
        """Tell what this layer's answer depends on beyond the options of the run."""
        layers = self.run.layers
        in_front = [layers[p].name for p in self.run.chosen if p < position]
        own = {"layer": layers[position].name, "pruned in front": in_front}
        return {**own, **self.method.details(position)}
