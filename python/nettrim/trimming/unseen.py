"""What held-out samples say of future ones, from what both models make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ..base.arrays import AnyFloat
from ..base.errors import HeldOutWarning, warn_user
from ..models.hashes import count_copies
from ..models.masked_view import MaskedView
from ..models.model_view import ModelView
from ..models.opened_model import OpenedModel
from ..models.samples import Data
from ..results.unseen import Unseen
from .methods.method import Run

__all__ = ["by_sample", "judge_unseen", "warn_of_copies"]


def warn_of_copies(opened: OpenedModel[Any]) -> None:
    """Warn of held-out samples that the solver sees as well."""
    if opened.held_out is None:
        return
    copies = count_copies(opened.data, opened.held_out)
    if copies:
        warn_user(
            f"held_out: {copies:,} of its {len(opened.held_out):,} samples are in X as well, so "
            "what is measured on them says too little of unseen ones",
            HeldOutWarning,
        )


def judge_unseen(
    run: Run, original: Sequence[AnyFloat], trimmed: Sequence[AnyFloat]
) -> Unseen | None:
    """Say what the outputs of two models on held-out samples tell; None if they tell nothing.

    Parameters
    ----------
    run : Run
    original, trimmed : sequence of ndarray
        All outputs, as ``ModelView.run`` or ``output_values`` returns them.
    """
    view, held_out = run.opened.view, run.opened.held_out
    assert held_out is not None
    try:
        both = [by_sample(view, outputs, held_out) for outputs in (original, trimmed)]
        first, second = ([outputs[number] for number in run.counted] for outputs in both)
        return Unseen.of(first, second, run.draw.seed)
    except ValueError as error:
        warn_user(f"held_out: nothing is said of unseen samples: {error}", HeldOutWarning)
        return None


def by_sample(view: ModelView, outputs: Sequence[AnyFloat], X: Data) -> list[NDArray[Any]]:
    """Return outputs with one row for each sample, and zeros at positions that do not count."""
    if isinstance(view, MaskedView):
        outputs = view.by_sample(outputs, X)
    return [
        values if len(values) == len(X) else values.reshape(len(X), -1, *values.shape[1:])
        for values in outputs
    ]
