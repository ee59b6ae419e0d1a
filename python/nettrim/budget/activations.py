"""What may follow a layer beside a ReLU: its values and its slopes; or what its rows count."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy

from ..base.arguments import show
from ..base.arrays import AnyFloat, Array
from ..base.dispatch import core

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LINEAR", "RELU", "SMOOTH", "Activation", "RowWeights", "Shifted", "as_smooth"]


GROWTH, CUBIC = math.sqrt(2 / math.pi), 0.044715  # of the tanh that stands for the error function


class Activation(NamedTuple):
    """A function of every signal, and its derivative."""

    value: Callable[[AnyFloat], AnyFloat]
    slope: Callable[[AnyFloat], AnyFloat]
    both: Callable[[AnyFloat], tuple[AnyFloat, AnyFloat]] | None = None

    def value_and_slope(self, signals: AnyFloat) -> tuple[AnyFloat, AnyFloat]:
        """Return both, which often have most of their work in common."""
        return self.both(signals) if self.both else (self.value(signals), self.slope(signals))

    def of(self, outputs: slice | NDArray[Any]) -> Activation:
        """Return what follows some outputs."""
        return self

    def of_samples(self, samples: slice) -> Activation:
        """Return what follows in some samples."""
        return self


class RowWeights(NamedTuple):
    """What follows where every signal's error counts as much as the caller says: its root times it.

    Attributes
    ----------
    roots : ndarray of shape (n_samples, n_outputs)
        Square roots of the weights.
    """

    roots: Array

    def value(self, signals: AnyFloat) -> AnyFloat:  # noqa: D102
        return signals * self.slope(signals)

    def slope(self, signals: AnyFloat) -> AnyFloat:  # noqa: D102
        return self.roots.astype(signals.dtype, copy=False)

    def value_and_slope(self, signals: AnyFloat) -> tuple[AnyFloat, AnyFloat]:  # noqa: D102
        return self.value(signals), self.slope(signals)

    def of(self, outputs: slice | NDArray[Any]) -> RowWeights:
        """Return what follows some outputs."""
        return RowWeights(self.roots[:, outputs])

    def of_samples(self, samples: slice) -> RowWeights:
        """Return what follows in some samples."""
        return RowWeights(self.roots[samples])


class Shifted(NamedTuple):
    """An activation of signals that are less by something fixed, which each output has its own of.

    Attributes
    ----------
    activation : Activation
    offset : ndarray of shape (n_outputs,)
    """

    activation: Activation
    offset: Array

    def value(self, signals: AnyFloat) -> AnyFloat:  # noqa: D102
        return self.activation.value(self._shifted(signals))

    def slope(self, signals: AnyFloat) -> AnyFloat:  # noqa: D102
        return self.activation.slope(self._shifted(signals))

    def value_and_slope(self, signals: AnyFloat) -> tuple[AnyFloat, AnyFloat]:  # noqa: D102
        return self.activation.value_and_slope(self._shifted(signals))

    def of(self, outputs: slice | NDArray[Any]) -> Shifted:
        """Return what follows some outputs."""
        return Shifted(self.activation, self.offset[outputs])

    def of_samples(self, samples: slice) -> Shifted:
        """Return what follows in some samples."""
        return self

    def _shifted(self, signals: AnyFloat) -> AnyFloat:
        shifted: AnyFloat = signals + self.offset.astype(signals.dtype)
        return shifted


def _gelu(z: Any) -> Any:
    return core.gelu(np.ascontiguousarray(z))


def _gelu_and_slope(z: Any) -> tuple[Any, Any]:
    return core.gelu_and_slope(np.ascontiguousarray(z))


def _gelu_slope(z: Any) -> Any:
    return _gelu_and_slope(z)[1]


def _inner(z: Any) -> Any:
    return GROWTH * (z + CUBIC * z**3)


def _gelu_tanh(z: Any) -> Any:
    return z * (1 + np.tanh(_inner(z))) / 2


def _gelu_tanh_slope(z: Any) -> Any:
    t = np.tanh(_inner(z))
    return (1 + t) / 2 + z * (1 - t * t) * GROWTH * (1 + 3 * CUBIC * z * z) / 2


def _sigmoid(z: Any) -> Any:
    return scipy.special.expit(z)


def _sigmoid_slope(z: Any) -> Any:
    s = _sigmoid(z)
    return s * (1 - s)


def _silu(z: Any) -> Any:
    return z * _sigmoid(z)


def _silu_and_slope(z: Any) -> tuple[Any, Any]:
    s = _sigmoid(z)
    return z * s, s * (1 + z * (1 - s))


def _silu_slope(z: Any) -> Any:
    return _silu_and_slope(z)[1]


def _hardswish(z: Any) -> Any:
    return z * np.clip(z + 3, 0, 6) / 6


def _hardswish_slope(z: Any) -> Any:
    return np.where(np.abs(z) < 3, (2 * z + 3) / 6, (z > 0).astype(z.dtype))


def _relu6(z: Any) -> Any:
    return np.clip(z, 0, 6)


def _relu6_slope(z: Any) -> Any:
    return ((z > 0) & (z < 6)).astype(z.dtype)


def _tanh_slope(z: Any) -> Any:
    return 1 - np.tanh(z) ** 2


def _relu(z: Any) -> Any:
    return np.maximum(z, 0)


def _relu_slope(z: Any) -> Any:
    return (z > 0).astype(z.dtype)


def _identity(z: Any) -> Any:
    return z


SMOOTH = {  # of functions that workers find by name
    "gelu": Activation(_gelu, _gelu_slope, _gelu_and_slope),
    "gelu_tanh": Activation(_gelu_tanh, _gelu_tanh_slope),
    "silu": Activation(_silu, _silu_slope, _silu_and_slope),
    "hardswish": Activation(_hardswish, _hardswish_slope),
    "relu6": Activation(_relu6, _relu6_slope),
    "tanh": Activation(np.tanh, _tanh_slope),
    "sigmoid": Activation(_sigmoid, _sigmoid_slope),
}

LINEAR = Activation(_identity, np.ones_like)
# As if it were a smooth one: for layers in which single rows are too dear to be told apart.
RELU = Activation(_relu, _relu_slope)


def as_smooth(activation: object) -> Activation | Shifted | None:
    """Return the activation that a name or a pair of functions stands for; None for other names.

    Raises
    ------
    TypeError
        If a pair does not hold two functions. What these return is checked when they are called.
    """
    if isinstance(activation, str):
        return SMOOTH.get(activation)
    if isinstance(activation, Shifted):
        return activation
    pair = [activation] if callable(activation) else activation
    if not isinstance(pair, (tuple, list)):
        return None
    if len(pair) != 2 or not all(map(callable, pair)):
        raise TypeError(
            "activation must be a name, or a pair of functions, value and derivative, "
            f"got {show(activation)}"
        )
    return Activation(_Checked(pair[0]), _Checked(pair[1]))


@dataclass(frozen=True)
class _Checked:
    """A caller's function, whose results are looked at."""

    function: Callable[[AnyFloat], Any]

    def __call__(self, signals: AnyFloat) -> AnyFloat:
        with np.errstate(all="ignore"):
            result = np.asarray(self.function(signals.copy()))  # which it may write into
        got = f"{result.dtype} of shape {result.shape}"
        if result.shape != signals.shape or result.dtype.kind not in "fiub":
            raise ValueError(
                f"activation must give a number for each signal, got {got} for signals of shape "
                f"{signals.shape}"
            )
        if not np.isfinite(result).all():
            raise ValueError(f"activation must give finite numbers, got {got} with NaN or infinity")
        return result.astype(signals.dtype, copy=False)
