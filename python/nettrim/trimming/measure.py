"""What a user measures of a model, before and after."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..base.arguments import show
from ..base.errors import warn_user
from ..base.stopwatch import Stopwatch
from ..results.outcome import Measured

__all__ = ["Gauge", "Measure"]

Measure: TypeAlias = "Callable[[Any], float | Mapping[str, float]]"

MEASURING = "measuring"  # the stage of a run
UNNAMED = "measure"  # what a number is called if the function has no name


class Gauge:
    """A user's function of models, and what it says of the original one.

    Parameters
    ----------
    measure : callable or None
        None measures nothing.
    original : object
        The model that was given. An error raised on it is not caught: nothing is lost yet.
    watch : Stopwatch

    Raises
    ------
    TypeError
        If ``measure`` is no function, or does not return what it must.
    """

    def __init__(self, measure: Measure | None, original: Any, watch: Stopwatch) -> None:
        if measure is not None and not callable(measure):
            raise TypeError(f"measure must be a function of a model, got {show(measure)}")
        self._measure, self._watch = measure, watch
        self._before = self._values(original)

    def compare(self, trimmed: Any) -> dict[str, Measured]:
        """Measure the trimmed model beside the original one.

        An error is warned of, and what is not known then is NaN, as nothing that is solved may be
        lost to it.
        """
        try:
            after = self._values(trimmed)
        except Exception as error:  # noqa: BLE001 (of code that is not ours)
            warn_user(
                f"measure: it failed on the trimmed model, so nothing is known of that: {error!r}",
                RuntimeWarning,
            )
            after = {}
        return self._beside(after)

    def before_alone(self) -> dict[str, Measured]:
        """Return what there is if nothing can be said of the trimmed model."""
        return self._beside({})

    def _beside(self, after: Mapping[str, float]) -> dict[str, Measured]:
        names = dict.fromkeys([*self._before, *after])
        return {
            name: Measured(self._before.get(name, math.nan), after.get(name, math.nan))
            for name in names
        }

    def _values(self, model: Any) -> dict[str, float]:
        """Return what the function says of a model, each number by its name."""
        if self._measure is None:
            return {}
        with self._watch(MEASURING):
            found = self._measure(model)
        if not isinstance(found, Mapping):
            found = {_name_of(self._measure): found}
        return {_check_name(name): _as_number(value) for name, value in found.items()}


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", UNNAMED)
    return name if name.isidentifier() else UNNAMED  # and not <lambda>


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"measure must name what it measures by str, got {show(name)}")
    return name


def _as_number(value: Any) -> float:
    """Return a number of Python, NumPy or a framework."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            "measure must return a number, or a mapping of names to numbers, "
            f"got {type(value).__name__}"
        ) from None
