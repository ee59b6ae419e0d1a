"""What the random calls have in common: entry points, and the damage users do to arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, TypeAlias

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Arguments: TypeAlias = dict[str, Any]
Random = np.random.Generator
Extended = NDArray[np.longdouble]  # squares of 1e300 are numbers in it
NUMBERS = (int, float, np.number)

SPOILED = (0.45, 0.3, 0.15, 0.1)  # how often so many arguments of a call are spoiled
SCALARS: tuple[Any, ...] = (
    None,
    np.nan,
    np.inf,
    -np.inf,
    -1,
    0,
    1,
    3,
    -0.0,
    0.5,
    1e-320,
    1e308,
    10**400,
    2**31,
    2**63,
    2**64,
    True,
    "",
    "0.5",
    "nonsense",
    "\0",
    b"bytes",
    (),
    [],
    {},
    [0],
    ["nonsense"],
    {"a": 1},
    1 + 2j,
    Fraction(1, 10),
    Decimal("0.1"),
    np.float16(0.1),
    np.float32(0.1),
    np.longdouble("0.1"),
    np.longdouble("1e4000"),
    np.int64(2),
    np.uint64(2**63),
    np.array(0.1),
    np.array([0.1]),
    np.array([0.1, 0.2]),
    np.datetime64("2020-01-01"),
    np.ma.masked,
    np.zeros((2, 2, 2)),
    object(),
    len,
    range(3),
)


class Entry:
    """One entry point: sensible arguments for it, and what is to be true of its answer.

    Attributes
    ----------
    function : callable
        What is called, by keywords.
    share : float
        How often it is drawn, beside the others.
    options : mapping
        Sensible values, some of which do not go together.
    unspoiled : set of str
        Arguments that are left as they are.
    paths : set of str
        Arguments that are paths: an error may quote one instead of naming it.
    """

    function: ClassVar[Callable[..., Any]]
    share: ClassVar[float] = 1.0
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    unspoiled: ClassVar[frozenset[str]] = frozenset()
    paths: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def title(cls) -> str:
        """Return what the entry point is called in tables."""
        return cls.__name__

    @property
    def names(self) -> list[str]:
        """The arguments that an error may name."""
        return list(inspect.signature(type(self).function).parameters)

    def arguments(self, rng: Random) -> Arguments:
        """Return arguments that have to be accepted."""
        raise NotImplementedError

    def call(self, arguments: Arguments) -> Any:
        """Call the entry point."""
        return type(self).function(**arguments)

    def check(self, arguments: Arguments, answer: Any) -> bool:
        """Raise an AssertionError if the answer is not true; return whether it is proved."""
        raise NotImplementedError

    def spoil(self, arguments: Arguments, rng: Random) -> list[str]:
        """Spoil some arguments, maybe none; return their names."""
        names = [name for name in self.names if name not in self.unspoiled]
        count = min(int(rng.choice(len(SPOILED), p=SPOILED)), len(names))
        chosen = [str(name) for name in rng.choice(names, count, replace=False)]
        for name in chosen:
            arguments[name] = self.spoiled(name, arguments.get(name), rng)
        return chosen

    def spoiled(self, name: str, value: Any, rng: Random) -> Any:
        """Return another value of an argument: sensible elsewhere, or nowhere."""
        if name in self.options and rng.random() < 0.5:
            return pick(rng, self.options[name])
        if isinstance(value, np.ndarray) and rng.random() < 0.85:
            return spoiled_array(value, rng)
        return pick(rng, SCALARS)


def pick(rng: Random, choices: Iterable[Any]) -> Any:
    """Return one of some things, whatever they are."""
    listed = list(choices)
    return listed[int(rng.integers(len(listed)))]


def maybe(rng: Random, probability: float, **arguments: Any) -> Arguments:
    """Return arguments, or none."""
    return arguments if rng.random() < probability else {}


def spoiled_array(array: NDArray[Any], rng: Random) -> Any:
    """Return an array as users may bring it: another kind, shape or size, or odd entries."""
    return pick(rng, (_of_another_kind, _of_another_shape, _of_another_size, _with_odd_entries))(
        array, rng
    )


def _of_another_kind(array: NDArray[Any], rng: Random) -> Any:
    kinds = ("f2", "f4", ">f8", "g", "u8", "i1", "?", "c16", "O", "U8", "M8[s]")
    frozen = array.copy()
    frozen.flags.writeable = False
    masked = np.ma.masked_array(array, rng.random(array.shape) < 0.1)
    with np.errstate(all="ignore"):
        cast = [array.astype(kind) for kind in kinds]
    others = [
        np.asfortranarray(array),
        frozen,
        np.repeat(array, 2, axis=0)[::2],
        array.tolist(),
        tuple(array),
        masked,
        np.ma.masked_array(array),
        list(masked),
        np.zeros(array.shape, [("a", float)]),
        *cast,
    ]
    if array.ndim == 2:
        others += [
            scipy.sparse.csr_array(array),
            scipy.sparse.coo_matrix(array),
        ]
    return pick(rng, others)


def _of_another_shape(array: NDArray[Any], rng: Random) -> Any:
    return pick(
        rng,
        [
            array.ravel(),
            array[None],
            array[..., None],
            array.T,
            array.ravel()[0],
            array[:0],
            array[..., :0],
            array[:1],
            array[..., :1],
            array[:-1],
            np.repeat(array, 2, axis=-1),
            [list(row) if np.ndim(row) else row for row in array] + [[1.0]],
        ],
    )


def _of_another_size(array: NDArray[Any], rng: Random) -> Any:
    """Return it at another scale: as a whole, or every column at its own."""
    power = rng.uniform(-300, 300)
    spread = rng.uniform(-12, 12, array.shape[-1:] or None)
    with np.errstate(all="ignore"):
        return pick(rng, [array * 10.0**power, array * 10.0**spread, array + 10.0 ** (power / 40)])


def _with_odd_entries(array: NDArray[Any], rng: Random) -> Any:
    odd = np.array(array, dtype=float)
    kind = int(rng.integers(6))
    if kind == 0 and odd.size:
        odd.flat[rng.integers(odd.size)] = pick(rng, [np.nan, np.inf, -np.inf, 1e300, 1e-300])
    elif kind == 1:
        odd[...] = pick(rng, [0.0, 1.0, -1.0, 1e-310])
    elif kind == 2:
        odd[..., rng.random(odd.shape[-1:]) < 0.4] = 0.0
    elif kind == 3 and odd.ndim > 1:
        odd[..., -1] = odd[..., 0]
    elif kind == 4:
        odd[:] = odd[:1]
    else:
        odd = np.abs(odd)
    return odd


def extended(value: Any) -> Extended:
    """Return numbers in extended precision."""
    return np.asarray(value).astype(np.longdouble)


def norm(value: Any) -> float:
    """Return the Frobenius norm; infinity where it is no double."""
    with np.errstate(over="ignore"):
        return float(np.sqrt((extended(value) ** 2).sum()))


def close(one: Any, other: Any, rel: float, slack: float = 0.0) -> bool:
    """Tell whether two numbers are equal up to rounding, relative to the larger, and some slack."""
    if np.isnan(one) or np.isnan(other):
        return bool(np.isnan(one) and np.isnan(other))
    if np.isinf(one) or np.isinf(other):
        return bool(one == other)
    return bool(abs(one - other) <= rel * max(abs(one), abs(other)) + slack)
