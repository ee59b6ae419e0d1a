"""A model opened on data: its view, what the view tells, and hashes to know both again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from ..base.errors import warn_user
from .hashes import count_copies, hash_data, hash_model
from .layer_view import LayerView, Untouched
from .masked_view import MaskedView
from .masks import MaskChoice, with_masks
from .model_view import ModelView, as_view, view_both, viewed_model
from .samples import Data, Samples, data_shape, sample_shape, shuffles

__all__ = ["OpenedModel"]

RARE = "fewer rows reach it than it has inputs"

Model = TypeVar("Model")


@dataclass(frozen=True)
class OpenedModel(Generic[Model]):
    """A model and the data it is run on.

    Attributes
    ----------
    model : object
        As it was given.
    view : ModelView
    layers : sequence of LayerView
        Its prunable layers.
    outputs : sequence of str
    untouched : sequence of Untouched
    data : ndarray of shape (n_samples, ...), or Samples
    held_out : the same, or None
    held_out_in_order : bool
        Whether labels can be told of the held-out samples: their order is that of what was given.
    facts : dict
        What a recipe tells of ``model``, ``calibration`` and ``held_out``: what they are, and
        SHA-256 hashes of their numbers; None for data that were not given.
    """

    model: Model
    view: ModelView
    layers: Sequence[LayerView]
    outputs: Sequence[str]
    untouched: Sequence[Untouched]
    data: Data
    held_out: Data | None
    held_out_in_order: bool
    facts: dict[str, Any]

    @classmethod
    def on(
        cls, model: Model, X: Any, held_out: Any = None, mask: MaskChoice = None
    ) -> OpenedModel[Model]:
        """Open a model: some views learn from data what they hold.

        ``mask`` says which positions of the samples count; see `nettrim.trim`.

        Raises
        ------
        TypeError, ValueError
            If the model is of no known kind, does not take the data, or has two layers or two
            outputs of one name.
        """
        view = as_view(model)
        data = with_masks(view.calibration(X, "X"), mask, "X")
        held_out_data = None
        if held_out is not None:
            held_out_data = with_masks(view.calibration(held_out, "held_out"), mask, "held_out")
        if held_out_data is not None and sample_shape(held_out_data) != sample_shape(data):
            wanted, got = sample_shape(data), sample_shape(held_out_data)
            raise ValueError(f"held_out has samples of shape {got}, X of {wanted}")
        if isinstance(data, Samples) and data.masks:
            view = MaskedView(view, data)
        layers, outputs = view.prunable_layers(), view.outputs()
        _check_names([layer.name for layer in layers], "prunable layers")
        _check_names(outputs, "outputs")
        facts = {
            "model": {"type": _type_name(viewed_model(model)), "sha256": hash_model(view, layers)},
            "calibration": _facts_of(data),
            "held_out": None if held_out_data is None else _facts_of(held_out_data),
        }
        return cls(
            model=model,
            view=view,
            layers=layers,
            outputs=outputs,
            untouched=view.untouched(),
            data=data,
            held_out=held_out_data,
            held_out_in_order=not shuffles(held_out),
            facts=facts,
        )

    @cached_property
    def n_copies(self) -> int:
        """How many held-out samples are among the others as well."""
        return 0 if self.held_out is None else count_copies(self.data, self.held_out)

    @cached_property
    def rarely_reached(self) -> dict[int, int]:
        """The layers that meet fewer rows than they have inputs, as a model picks them; how many.

        What is sparse on so few rows is sparse without meaning: they say little of those that other
        samples would bring.
        """
        if not any(layer.meets_picked_rows for layer in self.layers):
            return {}
        signals = enumerate(self.view.signals(self.data, {}))
        counts = {k: self.layers[k].count_rows(s.values) for k, s in signals if s.rows is not None}
        return {k: n for k, n in counts.items() if 0 < n < self.layers[k].shape[0]}

    def leaving_rare(self) -> OpenedModel[Model]:
        """Leave out layers that are rarely reached, unless they are named; and say so."""
        if not self.rarely_reached:
            return self
        layers, names = [*self.layers], []
        for position, count in self.rarely_reached.items():
            layer = layers[position]
            if layer.left_out is None:
                reason = f"{RARE} ({count:,} for {layer.shape[0]:,}): name it in layers to prune it"
                layers[position] = replace(layer, left_out=reason)
                names.append(layer.name)
        if names:
            listed = ", ".join(map(repr, names))
            warn_user(f"model: the layers {listed} are not pruned: {RARE}. Give more samples")
        return replace(self, layers=layers)

    def with_model(self, model: Model) -> OpenedModel[Model]:
        """Open what became of the model on the same data: of its kind, with its outputs."""
        view = view_both(self.model, model)[1]
        for data, name in ((self.data, "X"), (self.held_out, "held_out")):
            if data is not None:
                view.calibration(_as_given(data), name)
        if isinstance(self.data, Samples) and self.data.masks:
            view = MaskedView(view, self.data)
        layers = view.prunable_layers()
        own = {"type": _type_name(model), "sha256": hash_model(view, layers)}
        return replace(
            self, model=model, view=view, layers=layers, facts={**self.facts, "model": own}
        )

    def reached(self, chosen: Sequence[int]) -> Sequence[int]:
        """Return those of some layers that meet any row of the data."""
        if not any(self.layers[position].meets_picked_rows for position in chosen):
            return chosen
        signals = enumerate(self.view.signals(self.data, {}))
        met = {position for position, signal in signals if len(signal.values)}
        return [position for position in chosen if position in met]

    def passing_over(self, chosen: Collection[int]) -> OpenedModel[Model]:
        """Count layers among what is untouched that are left out and were not chosen."""
        passed = [
            _as_untouched(layer, layer.left_out)
            for position, layer in enumerate(self.layers)
            if layer.left_out is not None and position not in chosen
        ]
        return replace(self, untouched=[*self.untouched, *passed])


def _as_untouched(layer: LayerView, reason: str) -> Untouched:
    weights = layer.affine.weights
    return Untouched(layer.name, weights.T.shape, int(np.count_nonzero(weights)), reason)


def _check_names(names: Sequence[str], what: str) -> None:
    """Refuse what choices, tables and checkpoints could not tell apart."""
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise ValueError(f"model: its view has two {what} called {twice!r}, names must differ")


def _as_given(data: Data) -> Any:
    """Return data as a framework has them that knows inputs by name."""
    given = data.inputs if isinstance(data, Samples) else data
    return {**given.arrays, **given.shared} if isinstance(given, Samples) else given


def _facts_of(data: Data) -> dict[str, Any]:
    return {"shape": data_shape(data), "sha256": hash_data(data)}


def _type_name(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"
