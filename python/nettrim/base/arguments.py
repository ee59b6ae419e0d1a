"""Check arguments; every error names its argument, what came and what is wanted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import as_plain_array, check_finite, convert

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = [
    "check_booleans",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_matrix",
    "check_max_iter",
    "check_number",
    "check_precision",
    "check_share",
    "check_threads",
    "check_time_limit",
    "count_processors",
    "refuse_unused",
    "show",
]

LARGEST_INTEGER = 2**63 - 1  # that the compiled core counts with
MOST_THREADS = (
    1024  # where there are not more processors: each takes memory whether it works or not
)
LONGEST_SHOWN = 100  # characters


def check_precision(dtype: DTypeLike) -> np.dtype[Any]:
    """Return the type of the arithmetic, float64 or float32."""
    try:
        precision = np.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(f"dtype must be float64 or float32, got {show(dtype)}") from None
    if precision not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"dtype must be float64 or float32, got {precision}")
    return precision


def check_matrix(value: ArrayLike, name: str, precision: np.dtype[Any]) -> Floats:
    """Refuse what is no finite matrix; copy only what has another type or layout."""
    return convert(check_finite(value, name, ndim=2), name, precision)


def check_booleans(value: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return an array of True and False."""
    array = as_plain_array(value, name)
    if array.dtype != bool:
        raise TypeError(f"{name} must hold True and False, got {array.dtype}")
    return array


def check_flag(value: object, name: str) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {show(value)}")
    return bool(value)


def check_choice(value: object, choices: Sequence[str], name: str) -> str:
    """Return a word, if it is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, choices))}, got {show(value)}"
        )
    return value


def check_number(
    value: object,
    name: str,
    *,
    least: float = -np.inf,
    above: float = -np.inf,
    most: float = np.inf,
) -> float:
    """Return a finite real number within limits."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__} {show(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number) or number < least or number <= above or number > most:
        limits = [("at least", least), ("greater than", above), ("at most", most)]
        wanted = [f"{how} {limit:g}" for how, limit in limits if np.isfinite(limit)]
        raise ValueError(f"{name} must be {' and '.join(['finite', *wanted])}, got {show(value)}")
    return number


def check_integer(value: object, name: str, *, least: int = 1, most: int = LARGEST_INTEGER) -> int:
    """Return a whole number within limits."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {type(value).__name__} {show(value)}")
    number = int(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {show(value)}")
    if number > most:
        raise ValueError(f"{name} must be at most {most}, got {show(value)}")
    return number


def check_share(value: object, name: str) -> float:
    """Return a share between 0 and 1; who gives a percentage is told the share."""
    number = check_number(value, name, least=0.0)
    if 1 < number <= 100:
        meant = number / 100
        raise ValueError(f"{name} must be at most 1, got {show(value)}: did you mean {meant:g}?")
    return check_number(value, name, most=1.0)


def check_max_iter(value: object, default: int) -> int:
    """Check a number of iterations; None stands for the default."""
    return default if value is None else check_integer(value, "max_iter")


def check_time_limit(value: object, name: str = "time_limit") -> float:
    """Check a number of seconds; None stands for no limit, infinity."""
    return np.inf if value is None else check_number(value, name, above=0.0)


def check_threads(value: object) -> int:
    """Check a number of threads; None stands for all processors."""
    if value is None:
        return count_processors()
    return check_integer(value, "n_threads", most=max(MOST_THREADS, count_processors()))


def refuse_unused(why: str, **options: Any) -> None:
    """Raise an error that names the first option that was given although nothing would use it."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name} {why}, got {show(value)}")


def show(value: object) -> str:
    """Return how a message shows what came."""
    try:
        text = " ".join(repr(value).split())  # one line
    except ValueError:  # whole numbers of thousands of digits have no text
        return f"{type(value).__name__} of too many digits to show"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def count_processors() -> int:
    """Count those this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
