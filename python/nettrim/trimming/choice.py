"""Which layers are pruned and which outputs count, by position or by name."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from ..models.model_view import LayerView

__all__ = ["choose_layers", "choose_outputs"]


def choose_layers(layers: Sequence[LayerView], choice: Iterable[int | str] | None) -> list[int]:
    """Return the positions of the layers to be pruned, in order.

    Raises
    ------
    TypeError, ValueError
        If an entry of ``layers`` is neither position nor name of a prunable layer, or there is
        none.
    """
    if not layers:
        raise ValueError("model has no prunable layer")
    if choice is None:
        chosen = [k for k, layer in enumerate(layers) if layer.left_out is None]
        if not chosen:
            told = "; ".join(f"{layer.name}: {layer.left_out}" for layer in layers)
            raise ValueError(f"model has no prunable layer but those left out ({told})")
        return chosen
    return _positions([layer.name for layer in layers], choice, "layers", "prunable layer")


def choose_outputs(names: Sequence[str], choice: Iterable[int | str] | None) -> list[int]:
    """Return the positions of the outputs that count, in order.

    Raises
    ------
    TypeError, ValueError
        If an entry of ``outputs`` is neither position nor name of an output, or there is none.
    """
    return _positions(names, choice, "outputs", "output")


def _positions(
    names: Sequence[str], choice: Iterable[int | str] | None, argument: str, thing: str
) -> list[int]:
    if choice is None:
        return list(range(len(names)))
    try:
        entries = [choice] if isinstance(choice, (str, numbers.Integral)) else list(choice)
    except TypeError:
        raise TypeError(
            f"{argument} must hold positions or names, got {type(choice).__name__}"
        ) from None
    positions = sorted({_position(names, entry, argument, thing) for entry in entries})
    if not positions:
        raise ValueError(f"{argument} is empty: name at least one {thing}")
    return positions


def _position(names: Sequence[str], entry: Any, argument: str, thing: str) -> int:
    if isinstance(entry, str):
        if entry not in names:
            raise ValueError(f"{argument}: no {thing} is called {entry!r}, there are {list(names)}")
        return names.index(entry)
    if isinstance(entry, bool) or not isinstance(entry, numbers.Integral):
        raise TypeError(f"{argument} must hold positions or names, got {type(entry).__name__}")
    position = int(entry)
    if not -len(names) <= position < len(names):
        raise ValueError(f"{argument}: {position} is out of range, there are {len(names)} {thing}s")
    return position % len(names)
