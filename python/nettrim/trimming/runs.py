"""What frameworks themselves compute for models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from ..base.arrays import AnyFloat
from ..base.errors import RuntimeMismatchWarning, warn_user
from ..models.model_view import ModelView
from ..models.opened_model import OpenedModel
from ..models.samples import Data

__all__ = ["Runs", "run_before", "run_framework"]


class Runs(NamedTuple):
    """What the framework itself computes for a model, None where that cannot be known.

    Attributes
    ----------
    data, held_out : sequence of ndarray or None
        Outputs on the calibration and on the held-out samples.
    """

    data: Sequence[AnyFloat] | None = None
    held_out: Sequence[AnyFloat] | None = None


def run_before(opened: OpenedModel[Any]) -> Runs:
    """Return what the framework itself computes for the model.

    It is run before any work, on held-out data as well, so that what it does not take is told then.
    """
    run = partial(run_framework, opened.view, opened.model, refusal=(ValueError,))
    return Runs(run(opened.data), None if opened.held_out is None else run(opened.held_out))


def run_framework(
    view: ModelView, model: Any, X: Data, refusal: tuple[type[Exception], ...] = ()
) -> Sequence[AnyFloat] | None:
    """Return what the framework itself computes for a model, None if it cannot be known.

    Errors of a framework are warned of, as nothing that is solved may be lost to them, save those
    by which it refuses the samples.
    """
    try:
        outputs = view.run(model, X)
    except refusal:
        raise
    except Exception as error:  # noqa: BLE001 (of code that is not ours; what is solved is not lost)
        warn_user(
            "model: the framework itself does not run it on X, so nothing is known of its "
            f"rounding: {error}",
            RuntimeMismatchWarning,
        )
        return None
    return outputs
