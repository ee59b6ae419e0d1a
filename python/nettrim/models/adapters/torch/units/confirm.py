"""Which of the units found can go for all that the model's code says: seen by removing some."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from ....units.unit_map import FIXED, UnitMap, UnitSignal
from .walk import FoundUnits

__all__ = ["NEEDED", "confirm_units"]

Mask = NDArray[np.bool_]
Works = Callable[[UnitMap, Mask], bool]

NEEDED = "the model's code needs their number"
MOST_TRIALS = 32  # sets of numbers that are tried for units of one kind


def confirm_units(found: FoundUnits, works: Works) -> UnitMap:
    """Return the units without which a model computes what it ought to.

    Half of the units of all signals are removed; where that does not work, those of signals of one
    kind, and of one signal. Numbers that may count units change along if it works then.

    Parameters
    ----------
    found : FoundUnits
    works : callable
        Takes a `UnitMap` and which of its units are kept, and tells whether the smaller model
        computes what the whole one does without them.
    """
    trial = _Trial(found, works)
    if not trial.works_for(found.units.signals):
        for signals in _by_kind(found.units.signals):
            if not trial.settle_numbers(signals):
                for signal in signals:
                    if not trial.settle_numbers([signal]):
                        trial.at_fault.append(signal)
        trial.find_quarrels()
    return trial.result()


class _Trial:
    """Smaller models that were tried, and what has come of it."""

    def __init__(self, found: FoundUnits, works: Works) -> None:
        self._units, self._guesses = found
        self._works = works
        self._half = _keep_half(self._units)
        # Guesses, each for all modules of a kind.
        self._wrong = {_kind(name) for name, likely in self._guesses.items() if not likely}
        self.at_fault: list[UnitSignal] = []

    def works_for(self, signals: Sequence[UnitSignal]) -> bool:
        """Tell whether the model works without half of the units of some signals."""
        kept = np.ones(self._units.n_units, dtype=bool)
        for signal in signals:
            kept[signal.units] = self._half[signal.units]
        return self._works(self._counting(self._wrong), kept)

    def settle_numbers(self, signals: Sequence[UnitSignal]) -> bool:
        """Find numbers that change along with units of some signals; tell whether it works then."""
        units = np.concatenate([signal.units for signal in signals])
        own = [
            _kind(count.name)
            for count in self._units.counts
            if count.name in self._guesses and np.isin(count.units, units).any()
        ]
        before = self._wrong
        for wrong in islice(_subsets([*dict.fromkeys(own)]), MOST_TRIALS):
            self._wrong = before ^ wrong
            if self.works_for(signals):
                return True
        self._wrong = before
        return False

    def find_quarrels(self) -> None:
        """Find the signals that work alone but not with those before them."""
        good = [signal for signal in self._units.signals if signal not in self.at_fault]
        if self.works_for(good):
            return
        working: list[UnitSignal] = []
        for signal in good:
            if self.works_for([*working, signal]):
                working.append(signal)
            else:
                self.at_fault.append(signal)

    def result(self) -> UnitMap:
        """Return the units that are not at fault."""
        units = self._counting(self._wrong)
        if not self.at_fault:
            return units
        units = units.without(np.concatenate([s.units for s in self.at_fault]), NEEDED)
        idle = {count.name for count in units.counts if (count.units == FIXED).all()}
        return _without_counts(units, idle)

    def _counting(self, wrong: set[str]) -> UnitMap:
        names = {name for name in self._guesses if _kind(name) in wrong}
        return _without_counts(self._units, names)


def _keep_half(units: UnitMap) -> Mask:
    """Choose half of the units of each signal, and one or more of those of each layer."""
    random = np.random.default_rng(0)
    kept = np.ones(units.n_units, dtype=bool)
    for signal in units.signals:
        kept[random.permutation(signal.units)[: len(signal.units) // 2]] = False
    for layer in units.layers:
        if not layer.writes(kept).any():
            kept[layer.outputs[0]] = True
    return kept


def _by_kind(signals: Sequence[UnitSignal]) -> Iterator[list[UnitSignal]]:
    """Yield signals whose names differ in numbers alone."""
    kinds: dict[str, list[UnitSignal]] = defaultdict(list)
    for signal in signals:
        kinds[_kind(signal.name)].append(signal)
    yield from kinds.values()


def _kind(name: str) -> str:
    return re.sub(r"\d+", "*", name)


def _subsets(names: Sequence[str]) -> Iterator[set[str]]:
    """Yield all sets of some names, first the smallest."""
    for size in range(len(names) + 1):
        yield from map(set, combinations(names, size))


def _without_counts(units: UnitMap, names: set[str]) -> UnitMap:
    return replace(units, counts=tuple(c for c in units.counts if c.name not in names))
