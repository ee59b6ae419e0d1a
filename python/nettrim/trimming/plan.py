"""Which program each layer gets: the parallel and the cascade scheme."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..base.arguments import number, one_of, shown
from ..base.arrays import Array, frobenius
from ..models.model_view import LayerView, activate

SCHEMES = ("cascade", "parallel")
ROWS = 4096  # of large arrays, at a time


class Program(NamedTuple):
    """One layer program, as `nettrim.solve_layer` takes it; absolute numbers.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
        The layer's input, followed by the column of ones of a bias that is not fixed.
    Y : ndarray of shape (n_rows, n_outputs)
        Its original output, less a fixed bias.
    epsilon : float
    upper : ndarray of shape (n_rows, n_outputs) or None
        None stands for zero.
    active : ndarray of shape (n_rows, n_outputs) or None
        None stands for where Y is positive.
    activation : {"relu", "linear"}
    groups : int
        See `nettrim.models.model_view.Affine`.
    kappa : float
        The factor that is already in ``epsilon``; 1 for all but the last layer of a cascade.
    output_norm, largest : float
        Frobenius norm of the original output, and the largest entry of ``Y``, to which a tolerance on
        ``upper`` refers.
    """

    X: Array
    Y: Array
    epsilon: float
    upper: Array | None
    active: NDArray[np.bool_] | None
    activation: str
    groups: int
    kappa: float
    output_norm: float
    largest: float


class Place(NamedTuple):
    """Where a layer stands among those that are pruned."""

    first: bool
    last: bool


class Scheme(Protocol):
    """What a walk and its account want to know of a plan."""

    @property
    def cascaded(self) -> bool:
        """Whether programs are posed on the trimmed signals."""
        ...

    @property
    def kappa(self) -> float:
        """Factor on what is allowed to the last layer."""
        ...

    @property
    def scheme(self) -> str:
        """Which signals programs are posed on, by name."""
        ...

    def program(self, layer: LayerView, original: Array, current: Array, place: Place) -> Program:
        """Pose a layer's program, given its input in the original and in the trimmed network."""
        ...

    def floor(self, place: Place) -> float:
        """Tell what a layer's epsilon does not owe to the layers in front; see `nettrim.trimming.bounds`."""
        ...

    def growth(self, layer: LayerView, place: Place) -> float:
        """Tell by how much it grows with their errors."""
        ...

    def options(self) -> dict[str, Any]:
        """Return the options that matter to every layer, for a checkpoint."""
        ...

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `nettrim.trim` with their defaults, None for those without use."""
        ...


@dataclass(frozen=True)
class Plan:
    """The checked options that decide which programs are posed; see `nettrim.trim`."""

    epsilon: float
    scheme: str
    gamma: float
    slack: str
    kappa: float
    tol: float

    @classmethod
    def checked(
        cls, *, epsilon: Any, scheme: Any, gamma: Any, slack: Any, kappa: Any, tol: Any
    ) -> Plan:
        """Build a plan from what a user gave; None is the default of each but `epsilon`.

        Raises
        ------
        TypeError, ValueError
            If an option is not what it must be, or would not be used; the message names it.
        """
        if epsilon is None:
            raise ValueError(
                "epsilon is needed, the relative error allowed, for example 0.05; or sparsity"
            )
        plan = cls(
            epsilon=number(epsilon, "epsilon", least=0.0),
            scheme=one_of(scheme, SCHEMES, "scheme"),
            gamma=number(1.1 if gamma is None else gamma, "gamma", least=1.0),
            slack=one_of("positive" if slack is None else slack, ("positive", "paper"), "slack"),
            kappa=number(1.0 if kappa is None else kappa, "kappa", above=0.0, most=1.0),
            tol=number(1e-4 if tol is None else tol, "tol", least=0.0),
        )
        if not plan.cascaded:
            why = "belongs to scheme='cascade', the parallel scheme has none"
            refuse_unused(why, gamma=gamma, slack=slack, kappa=kappa)
        return plan

    @property
    def cascaded(self) -> bool:
        """Whether programs are posed on the trimmed signals."""
        return self.scheme == "cascade"

    def program(self, layer: LayerView, original: Array, current: Array, place: Place) -> Program:
        """Pose a layer's program.

        Parameters
        ----------
        layer : LayerView
        original, current : ndarray of shape (n_rows, n_features)
            The layer's input in the original and in the trimmed network.
        place : Place

        Returns
        -------
        Program
        """
        Y = activate(layer.affine.apply(original), layer.activation)
        least = self.floor(place) * frobenius(Y)
        if not self.cascaded or place.first:
            return posed(layer, original, Y, least, None, self._kappa(place))
        V = layer.affine.apply(current)
        relu = layer.activation == "relu"
        epsilon = max(self._inflation(place) * _error(V, Y, relu), least)
        if relu and self.slack == "positive":
            np.maximum(V, 0.0, out=V)
        return posed(layer, current, Y, epsilon, V if relu else None, self._kappa(place))

    def floor(self, place: Place) -> float:
        """Epsilon, relative to the layer's output, that does not depend on the layers in front.

        For a layer of the cascade behind the first it is the least one: where nothing changed in
        front, the layer's own error is zero and would leave no room but rounding errors.
        """
        if not self.cascaded:
            return self.epsilon
        return self._kappa(place) * (self.epsilon if place.first else min(self.tol, self.epsilon))

    def growth(self, layer: LayerView, place: Place) -> float:
        """Factor of Theorem 2 on the change of the original weights' response.

        Without effect on the first pruned layer, whose input does not change. ``kappa`` shrinks the
        ball, not the upper bound on a ReLU layer's inactive entries.
        """
        inflation = self._inflation(place)
        return inflation if layer.activation == "linear" else max(inflation, 1.0)

    def _inflation(self, place: Place) -> float:
        return math.sqrt(self.gamma) * self._kappa(place)

    def _kappa(self, place: Place) -> float:
        return self.kappa if place.last else 1.0

    def options(self) -> dict[str, Any]:
        """Return the options that matter under this scheme to every layer, for a checkpoint."""
        own = {"scheme": self.scheme, "epsilon": self.epsilon, "tol": self.tol}
        return {**own, "gamma": self.gamma, "slack": self.slack} if self.cascaded else own

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `nettrim.trim` with their defaults, None for those without use."""
        unused = () if self.cascaded else ("gamma", "slack", "kappa")
        return {**asdict(self), **dict.fromkeys(unused)}


def posed(
    layer: LayerView, rows: Array, Y: Array, epsilon: float, upper: Array | None, kappa: float
) -> Program:
    """Pose a layer's program on some input; a fixed bias moves to the other side."""
    norm, active = frobenius(Y), None
    offset = layer.affine.offset
    if offset.any():
        if layer.activation == "relu":
            active = Y > 0
            upper = np.broadcast_to(-offset, Y.shape) if upper is None else upper - offset
        Y = Y - offset if active is None else np.where(active, Y - offset, 0.0)
    return Program(
        X=layer.affine.inputs(rows),
        Y=Y,
        epsilon=epsilon,
        upper=upper,
        active=active,
        activation=layer.activation,
        groups=layer.affine.groups,
        kappa=kappa,
        output_norm=norm,
        largest=float(np.abs(Y).max()),
    )


def _error(V: Array, Y: Array, relu: bool) -> float:
    """Return the distance from V to Y, of a ReLU layer where Y is active; arrays may be large."""
    square = 0.0
    for first in range(0, len(Y), ROWS):
        v, y = V[first : first + ROWS], Y[first : first + ROWS]
        square += frobenius(np.where(y > 0, v - y, 0.0) if relu else v - y) ** 2
    return math.sqrt(square)


def chosen_layers(layers: Sequence[LayerView], choice: Iterable[int | str] | None) -> list[int]:
    """Return the positions of the layers to be pruned, in order.

    Raises
    ------
    TypeError, ValueError
        If an entry of ``layers`` is neither position nor name of a prunable layer, or there is none.
    """
    if not layers:
        raise ValueError("model has no prunable layer")
    return _positions([layer.name for layer in layers], choice, "layers", "prunable layer")


def chosen_outputs(names: Sequence[str], choice: Iterable[int | str] | None) -> list[int]:
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


def refuse_unused(why: str, **options: Any) -> None:
    """Raise an error that names the first option that was given although nothing would use it."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name} {why}, got {shown(value)}")
