"""What held-out samples say of future ones, from what both models make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..base.arrays import AnyFloat, Array
from ..base.errors import HeldOutWarning, warn_user
from ..models.layer_view import Affine
from ..models.masked_view import MaskedView
from ..models.model_view import ModelView
from ..models.opened_model import OpenedModel
from ..models.samples import Data
from ..results.unseen import Unseen
from .runs import run_framework
from .walk import Walk

__all__ = ["by_sample", "exact_outputs", "judge_unseen", "run_on_held_out", "warn_of_copies"]


def warn_of_copies(opened: OpenedModel[Any]) -> None:
    """Warn of held-out samples that the solver sees as well."""
    if opened.held_out is not None and opened.n_copies:
        warn_user(
            f"held_out: {opened.n_copies:,} of its {len(opened.held_out):,} samples are in X as "
            "well, so what is measured on them says too little of unseen ones",
            HeldOutWarning,
        )


def judge_unseen(walk: Walk, before: Sequence[AnyFloat] | None, trimmed: Any) -> Unseen | None:
    """Say what the outputs of two models on held-out samples tell; None if they tell nothing.

    See `run_on_held_out`.
    """
    if walk.run.opened.held_out is None:
        return None
    try:
        original, after = run_on_held_out(walk, before, trimmed)
        decides_by = walk.run.view.decides_by()
        return Unseen.of(original, after, walk.run.draw.seed, decides_by)
    except ValueError as error:
        warn_user(f"held_out: nothing is said of unseen samples: {error}", HeldOutWarning)
        return None


def run_on_held_out(
    walk: Walk,
    before: Sequence[AnyFloat] | None,
    trimmed: Any,
    exact: Callable[[], Sequence[AnyFloat]] | None = None,
) -> list[list[NDArray[Any]]]:
    """Return the outputs that count of the original and of the trimmed model, sample by sample.

    Parameters
    ----------
    walk : Walk
    before : sequence of ndarray or None
        What the framework computes for the original model. Where that is not known both are run in
        exact arithmetic.
    trimmed : object
        The trimmed model.
    exact : callable, optional
        Returns `exact_outputs` of the original model where they serve several trimmed ones.
    """
    opened = walk.run.opened
    view, held_out = opened.view, opened.held_out
    assert held_out is not None
    after = None if before is None else run_framework(view, trimmed, held_out)
    if before is None or after is None:
        before = exact_outputs(opened, {}) if exact is None else exact()
        after = exact_outputs(opened, walk.weights) if walk.weights else before
    both = [by_sample(view, outputs, held_out) for outputs in (before, after)]
    return [[outputs[number] for number in walk.run.counted] for outputs in both]


def exact_outputs(opened: OpenedModel[Any], weights: Mapping[int, Affine]) -> list[Array]:
    """Return the outputs of a model with some weights on held-out samples, in exact arithmetic."""
    assert opened.held_out is not None
    return opened.view.output_values(opened.held_out, weights)


def by_sample(view: ModelView, outputs: Sequence[AnyFloat], X: Data) -> list[NDArray[Any]]:
    """Return outputs with one row for each sample, and zeros at positions that do not count."""
    if isinstance(view, MaskedView):
        outputs = view.by_sample(outputs, X)
    return [
        values if len(values) == len(X) else values.reshape(len(X), -1, *values.shape[1:])
        for values in outputs
    ]
