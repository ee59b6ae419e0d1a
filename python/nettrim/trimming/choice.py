"""Which layers are pruned and which outputs count: by position, name, pattern or class."""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..models.layer_view import LayerView, Untouched

__all__ = ["LayerChoice", "choose_layers", "choose_outputs"]

LayerChoice: TypeAlias = "int | str | type | Iterable[int | str | type]"

MOST_TOLD = 3  # weights of a model without layers
PATTERN = "re:"  # what a regular expression begins with, to be told from a name


def choose_layers(
    layers: Sequence[LayerView],
    choice: LayerChoice | None,
    skip: LayerChoice | None = None,
    untouched: Sequence[Untouched] = (),
) -> list[int]:
    """Return the positions of the layers to be pruned, in order.

    Parameters
    ----------
    layers : sequence of LayerView
    choice, skip : see `nettrim.trim`
    untouched : sequence of Untouched
        The weights that no layer holds, to be named where there are no layers.

    Raises
    ------
    TypeError, ValueError
        If an entry of ``layers`` or ``skip`` stands for no prunable layer, or none is left.
    """
    if not layers:
        told = "; ".join(f"{weight.name}: {weight.reason}" for weight in untouched[:MOST_TOLD])
        raise ValueError(f"model has no prunable layer{told and f' ({told})'}")
    names, classes = [layer.name for layer in layers], [layer.layer_class for layer in layers]
    if choice is None:
        chosen = _default_layers(layers)
    else:
        chosen = _Argument("layers", "prunable layer", names, classes).positions(choice)
        if not chosen:
            raise ValueError("layers is empty: name at least one prunable layer")
    if skip is not None:
        skipped = _Argument("skip", "prunable layer", names, classes).positions(skip)
        chosen = [position for position in chosen if position not in skipped]
        if not chosen:
            raise ValueError("skip leaves no layer to prune")
    return chosen


def _default_layers(layers: Sequence[LayerView]) -> list[int]:
    """Return all that are pruned without being named."""
    chosen = [k for k, layer in enumerate(layers) if layer.left_out is None]
    if not chosen:
        told = "; ".join(f"{layer.name}: {layer.left_out}" for layer in layers)
        raise ValueError(f"model has no prunable layer but those left out ({told})")
    return chosen


def choose_outputs(
    names: Sequence[str], choice: int | str | Iterable[int | str] | None
) -> list[int]:
    """Return the positions of the outputs that count, in order.

    Raises
    ------
    TypeError, ValueError
        If an entry of ``outputs`` stands for no output, or there is none.
    """
    if choice is None:
        return list(range(len(names)))
    chosen = _Argument("outputs", "output", names).positions(choice)
    if not chosen:
        raise ValueError("outputs is empty: name at least one output")
    return chosen


@dataclass(frozen=True)
class _Argument:
    """An argument that chooses among things.

    Attributes
    ----------
    name : str
        Its own.
    thing : str
        What one of those it chooses from is called.
    names : sequence of str
    classes : sequence of type or None
        Their classes; empty where they have none.
    """

    name: str
    thing: str
    names: Sequence[str]
    classes: Sequence[type | None] = ()

    def positions(self, choice: Any) -> list[int]:
        """Return all that the entries of a choice stand for, in order."""
        try:
            alone = isinstance(choice, (str, numbers.Integral, type))
            entries = [choice] if alone else list(choice)
        except TypeError:
            raise self._unknown(choice) from None
        return sorted({position for entry in entries for position in self._matched(entry)})

    def _matched(self, entry: Any) -> list[int]:
        if isinstance(entry, str) and entry.startswith(PATTERN):
            return self._by_pattern(entry)
        if isinstance(entry, str):
            return self._by_name(entry)
        if isinstance(entry, type) and self.classes:
            return self._by_class(entry)
        if isinstance(entry, bool) or not isinstance(entry, numbers.Integral):
            raise self._unknown(entry)
        return self._by_position(int(entry))

    def _by_pattern(self, entry: str) -> list[int]:
        try:
            matches: Callable[[str], Any] = re.compile(entry.removeprefix(PATTERN)).match
        except re.error as error:
            raise ValueError(f"{self.name}: {entry!r} is no regular expression: {error}") from None
        found = [k for k, name in enumerate(self.names) if matches(name)]
        if not found:
            raise self._none(f"has a name that begins as {entry!r} says", self.names)
        return found

    def _by_name(self, entry: str) -> list[int]:
        if entry not in self.names:
            raise self._none(f"is called {entry!r}", self.names)
        return [self.names.index(entry)]

    def _by_class(self, entry: type) -> list[int]:
        found = [k for k, own in enumerate(self.classes) if own and issubclass(own, entry)]
        if not found:
            there = sorted({own.__name__ for own in self.classes if own})
            raise self._none(f"is a {entry.__name__}", there)
        return found

    def _by_position(self, position: int) -> list[int]:
        count = len(self.names)
        if not -count <= position < count:
            raise ValueError(
                f"{self.name}: {position} is out of range, there are {count} {self.thing}s"
            )
        return [position % count]

    def _none(self, what: str, there: Sequence[str]) -> ValueError:
        return ValueError(f"{self.name}: no {self.thing} {what}, there are {list(there)}")

    def _unknown(self, entry: object) -> TypeError:
        wanted = "positions, names or classes" if self.classes else "positions or names"
        return TypeError(f"{self.name} must hold {wanted}, got {type(entry).__name__}")
