"""Which positions of samples count: from what a user says of them to a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..base.arguments import show
from .samples import UNNAMED, Data, Mask, Samples

__all__ = ["MaskChoice", "describe_choice", "with_masks"]

MaskChoice: TypeAlias = "str | Callable[[Any], Any] | Literal[False] | None"

DECODER = "decoder_"  # how the inputs begin that run along the other of two sequences
TARGETS = ("labels",)  # which may run along either
USUAL = ("attention_mask", f"{DECODER}attention_mask")


def with_masks(data: Data, choice: MaskChoice, name: str) -> Data:
    """Return samples with the masks that were chosen; the same ones where everything counts.

    Parameters
    ----------
    data : ndarray of shape (n_samples, ...) or Samples
    choice : str, callable, False or None
        See `nettrim.trim`.
    name : str
        How an error calls the samples.

    Raises
    ------
    TypeError, ValueError
        If there is no such mask, or it is none; the message names it.
    """
    if choice is False:
        return data
    choices = [key for key in USUAL if _is_usual(data, key)] if choice is None else [choice]
    if not choices:
        return data
    samples = data if isinstance(data, Samples) else Samples({UNNAMED: data})
    masks = []
    for own in choices:
        counts = _counts(data, own, name)
        masks.append(Mask(counts, _inputs_along(samples, counts, own)))
    return Samples(samples.arrays, samples.shared, tuple(masks))


def _inputs_along(
    samples: Samples, counts: NDArray[np.bool_], choice: MaskChoice
) -> frozenset[str]:
    """Return the inputs that run along the positions of a mask."""
    decoder = isinstance(choice, str) and choice.startswith(DECODER)
    return frozenset(
        key
        for key, array in samples.arrays.items()
        if array.shape[:2] == counts.shape
        and key.startswith(DECODER) == decoder
        and key not in TARGETS
    )


def describe_choice(choice: MaskChoice) -> str | bool | None:
    """Return what a recipe tells of a choice; of a function, its name."""
    if callable(choice):
        return f"{getattr(choice, '__qualname__', type(choice).__name__)}()"
    return choice


def _is_usual(data: Data, key: str) -> bool:
    """Whether there is a mask of tokens by a usual name, and not what is added to scores."""
    mask = data.arrays.get(key) if isinstance(data, Samples) else None
    return mask is not None and mask.ndim == 2 and mask.dtype.kind in "biu"


def _counts(data: Data, choice: object, name: str) -> NDArray[np.bool_]:
    """Return what counts, as the user says it."""
    inputs = dict(data.arrays) if isinstance(data, Samples) else None
    if callable(choice):
        found = choice(data if inputs is None else inputs)
    elif not isinstance(choice, str):
        raise TypeError(
            f"mask must be the name of an input, a function or False, got {show(choice)}"
        )
    elif inputs is None or choice not in inputs:
        known = "one array without a name" if inputs is None else ", ".join(inputs)
        raise ValueError(f"mask: {name} has no input {choice!r}, it has {known}")
    else:
        found = inputs[choice]
    return _check(np.asarray(found), len(data), name)


def _check(mask: NDArray[Any], n_samples: int, name: str) -> NDArray[np.bool_]:
    if mask.ndim != 2 or len(mask) != n_samples:
        raise ValueError(
            f"mask must be of shape (n_samples, n_positions), with {n_samples} samples of {name}, "
            f"got shape {mask.shape}"
        )
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise ValueError(f"mask must hold True and False, or ones and zeros, got {mask.dtype}")
    if not mask.any():
        raise ValueError(f"mask leaves no position of {name} that counts")
    return mask.astype(bool)
