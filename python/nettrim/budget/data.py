"""What a layer with a budget is given: checked arrays, and what its weights may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..base.arguments import check_choice, check_matrix, show
from ..base.arrays import AnyFloat, Array, check_finite, frobenius_norm, relative_to
from ..base.errors import OutOfReachError
from ..layer.data import ACTIVATIONS, LayerData
from ..layer.gram import Gram, pose
from ..models.layer_view import activate
from .activations import SMOOTH, Activation, RowWeights, Shifted, as_smooth
from .pattern import Pattern
from .sample_blocks import cut_samples, map_samples

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Mask = NDArray[np.bool_]

__all__ = ["BudgetData", "compute_budget", "double_matrix", "mark_largest"]

MODERATE = 1e15  # sizes of arrays with squares and products that single precision holds
FARTHEST = 300  # powers of two between the sizes of Y and X @ weights
UNLIKE = 4  # powers of two between a constant feature and the others, up to which it stays as it is
UNBOUNDED = 1e140  # an upper bound of signals of about one that is none
DOUBLE = np.dtype(np.float64)
TINY = float(np.finfo(np.float64).tiny)
SIGNALS_IN_MEMORY = 2**20  # at once: memory that is not new is there at once


def double_matrix(value: ArrayLike, name: str) -> Array:
    """Return a finite matrix of float64."""
    return np.asarray(check_matrix(value, name, DOUBLE), dtype=np.float64)


def compute_budget(sparsity: float | None, size: int, demanded: int) -> int:
    """Return how many of some weights may be left, where a pattern demands removals.

    Raises
    ------
    ValueError
        If fewer are to be removed than the pattern demands.
    """
    if sparsity is None:
        return size - demanded
    budget = round((1 - sparsity) * size)
    if budget > size - demanded:
        raise OutOfReachError(
            f"sparsity must be at least {demanded / size:g} for this pattern, got {sparsity:g}",
            too_bold=False,
        )
    return budget


def mark_largest(sizes: Array, count: int) -> Mask:
    """Mark the largest of all entries; of equal ones the first."""
    mask = np.zeros(sizes.shape, bool)
    mask.flat[np.argsort(-sizes, axis=None, kind="stable")[:count]] = True
    return mask


class BinaryScale(NamedTuple):
    """The caller's numbers over those that are computed with, as exponents of two."""

    x: int
    y: int

    def exponent(self, quantity: str) -> int:
        """Return that of inputs "X", signals "Y", "weights" or "losses"."""
        return {"X": self.x, "Y": self.y, "weights": self.y - self.x, "losses": 2 * self.y}[
            quantity
        ]


AS_GIVEN = BinaryScale(0, 0)


def _roots(row_weights: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return square roots of row weights, the largest 1: one for each sample, or for each output.

    Raises
    ------
    ValueError
        If the weights are of no such shape, or are negative, or all zero.
    """
    weights = check_finite(row_weights, "row_weights")
    if weights.ndim == 1:
        weights = weights[:, None]
    if weights.shape not in (shape, (shape[0], 1)):
        raise ValueError(
            f"row_weights must have shape ({shape[0]},) or {shape}, got {np.shape(row_weights)}"
        )
    if weights.min() < 0 or weights.max() == 0:
        raise ValueError("row_weights must be at least 0, and not all of them 0")
    roots: Array = np.sqrt(weights / weights.max(), dtype=np.float64)
    return roots


def _exponent(array: Array) -> int:
    """Return the power of two just above the largest entry."""
    return int(np.frexp(np.abs(array).max())[1])


def _is_constant(X: Array) -> Mask:
    """Tell which features are the same number in all of several samples."""
    same: Mask = (X[0] == X[-1]) & (X[0] != 0) & (len(X) > 1)
    same[same] = (X[:, same] == X[0, same]).all(axis=0)
    return same


def _unlike(X: Array, constant: Mask) -> NDArray[np.intc]:
    """Return how many powers of two some features are longer than most of the others are.

    Zero where that is not far.
    """
    balance = np.zeros(len(constant), np.intc)  # as ldexp takes them everywhere
    largest = np.maximum(X.max(axis=0), -X.min(axis=0))
    exponents = np.frexp(largest)[1]
    some, others = constant & (largest > 0), ~constant & (largest > 0)
    if not (some.any() and others.any()):
        return balance
    if (np.abs(exponents[some] - np.median(exponents[others])) <= UNLIKE).all():
        return balance
    lengths = np.log2(largest, where=largest > 0, out=np.zeros(len(largest)))
    lengths += np.log2(np.mean((X / np.where(largest > 0, largest, 1.0)) ** 2, axis=0) + TINY) / 2
    balance[some] = np.rint(lengths[some] - np.median(lengths[others]))
    balance[np.abs(balance) <= UNLIKE] = 0
    return balance


@dataclass(frozen=True)
class BudgetData:
    """Validated arrays of a layer, C-contiguous float64.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
    Y : ndarray of shape (n_samples, n_outputs)
    weights : ndarray of shape (n_features, n_outputs)
        Those to begin with.
    upper : ndarray of shape (n_samples, n_outputs) or None
    active : ndarray of bool, of the shape of Y, or None
        None where every row counts.
    pattern : Pattern
    n_samples : int
        How many there are, of which the rows of X may be the sums.
    behind : Activation, Shifted, RowWeights or None
        What follows, if it is no ReLU; then Y is what comes in front of it. Or how much rows of
        each output count.
    units : BinaryScale
        In which these are given: arrays near the limits of a double are kept at a size of about
        one.
    balance : ndarray of int, of shape (n_features,), or None
        Powers of two by which features are smaller here than they are given, and their weights
        larger: a column of ones beside features of another size. None for none of them.
    """

    X: Array
    Y: Array
    weights: Array
    upper: Array | None
    active: Mask | None
    pattern: Pattern
    n_samples: int
    behind: Activation | Shifted | RowWeights | None = None
    units: BinaryScale = AS_GIVEN
    balance: NDArray[np.intc] | None = None

    @classmethod
    def of(
        cls,
        X: ArrayLike | Gram,
        Y: ArrayLike | None,
        weights: ArrayLike,
        activation: str | tuple[Any, Any] | Shifted | None,
        upper: ArrayLike | None,
        active: ArrayLike | None,
        keep: ArrayLike | None,
        pattern: str | None,
        row_weights: ArrayLike | None = None,
    ) -> BudgetData:
        """Check what the caller gave."""
        start = double_matrix(weights, "weights")
        if isinstance(X, Gram) and X.n_outputs is None:
            X = X.with_weights(start)
        samples, wanted, kind = pose(X, Y, activation)
        behind = as_smooth(kind)
        if behind is None:
            check_choice(kind, (*ACTIVATIONS, *SMOOTH), "activation")
        in_core = kind if behind is None else "linear"
        given = LayerData.of(samples, wanted, in_core, upper, active, DOUBLE)
        inputs, outputs = double_matrix(samples, "X"), double_matrix(wanted, "Y")
        shape = (inputs.shape[1], outputs.shape[1])
        if start.shape != shape:
            raise ValueError(
                f"weights must have shape (n_features, n_outputs) = {shape}, got {start.shape}"
            )
        if row_weights is not None and (isinstance(X, Gram) or kind != "linear"):
            raise ValueError(
                "row_weights are for samples of a linear layer: a Gram is given them when it is "
                "updated, and behind an activation slopes take their place"
            )
        mask = np.ascontiguousarray(given.is_active(slice(None))) if given.relu else None
        bound = None if given.upper is None else np.asarray(given.upper, dtype=np.float64)
        allowed = Pattern.of(keep, pattern, shape[0])
        count = X.n_samples if isinstance(X, Gram) else len(inputs)
        data = cls(inputs, outputs, start, bound, mask, allowed, count, behind)._balanced()
        if not data._has_squares:
            data = data._in_units_of_its_size()
            if behind is not None:
                raise ValueError(
                    f"X, Y and weights must have squares in float64 in front of {show(activation)}"
                )
        if bound is not None and data.upper is not None and data.upper.min() <= -UNBOUNDED:
            raise ValueError(
                "upper must be of a size with Y and X @ weights where it is negative, "
                f"got {bound.min():g}"
            )
        if row_weights is not None:
            data = data._with_row_weights(row_weights)
        return data._with_few_rows() if data.is_linear else data

    @property
    def is_linear(self) -> bool:
        """Whether nothing follows that the loss takes notice of."""
        return self.active is None and self.behind is None

    @property
    def _has_squares(self) -> bool:
        """Whether sums of squares and of products are far from the limits of a double."""
        sizes = [float(np.abs(array).max()) for array in (self.X, self.Y, self.weights)]
        return all(size == 0 or 1 / MODERATE <= size <= MODERATE for size in sizes)

    def _in_units_of_its_size(self) -> BudgetData:
        """Return the same layer with inputs and signals of about one, by powers of two."""
        x = _exponent(self.X)
        signals = [_exponent(self.Y)] if self.Y.any() else []
        if self.weights.any():
            signals.append(x + _exponent(self.weights))
        if len(signals) > 1 and abs(signals[0] - signals[1]) > FARTHEST:
            raise ValueError(
                "Y must be of a size with X @ weights, "
                f"got 2^{signals[0]} for Y and 2^{signals[1]} for X @ weights"
            )
        units = BinaryScale(x, max(signals, default=0))
        with np.errstate(over="ignore"):
            upper = None if self.upper is None else np.ldexp(self.upper, -units.exponent("Y"))
            return replace(
                self,
                units=units,
                X=np.ldexp(self.X, -units.exponent("X")),
                Y=np.ldexp(self.Y, -units.exponent("Y")),
                weights=np.ldexp(self.weights, -units.exponent("weights")),
                upper=None if upper is None else upper.clip(-UNBOUNDED, UNBOUNDED),
            )

    def _balanced(self) -> BudgetData:
        """Return the same layer with constant features, like that of a bias, as long as the others.

        A ridge is in units of a feature, the same for all. What the size of a constant is, is a
        matter of how the layer is posed. Where a bias is known to be one, as its weights all stay,
        others may be constant on these samples alone.
        """
        kept = self.pattern.keep
        balance = _unlike(self.X, kept if kept.any() else _is_constant(self.X))
        if not balance.any():
            return self
        X = np.ldexp(self.X, -balance)
        weights = np.ldexp(self.weights, balance[:, None])
        return replace(self, X=X, weights=weights, balance=balance)

    def without_balance(self) -> BudgetData:
        """Return the same layer with its features as they are given, in the same units."""
        if self.balance is None:
            return self
        X = np.ldexp(self.X, self.balance)
        weights = np.ldexp(self.weights, -self.balance[:, None])
        return replace(self, X=X, weights=weights, balance=None)

    def _with_row_weights(self, row_weights: ArrayLike) -> BudgetData:
        """Return the same linear layer where rows count as much as the caller says."""
        roots = _roots(row_weights, self.Y.shape)
        if roots.shape == self.Y.shape:
            return replace(self, behind=RowWeights(roots))
        return replace(self, X=self.X * roots, Y=self.Y * roots)

    def _with_few_rows(self) -> BudgetData:
        """Return the same linear layer with no more samples than its sums need."""
        if len(self.X) <= self.X.shape[1] + 1:
            return self
        rows = Gram.of(self.X, self.Y).rows()
        return replace(self, X=rows.X, Y=rows.Y)

    def in_own_units(self, value: Array | float, quantity: str) -> Array:
        """Return what a caller gave as it is computed with."""
        with np.errstate(over="ignore"):
            scaled: Array = np.ldexp(value, -self._exponents(quantity))
        return scaled

    def in_given_units(self, value: Array | float, quantity: str) -> Array:
        """Return what was computed in the caller's units; infinite where no double is so large."""
        with np.errstate(over="ignore"):
            scaled: Array = np.ldexp(value, self._exponents(quantity))
        return scaled

    def _exponents(self, quantity: str) -> Any:
        """Return the powers of two between what is given and what is computed with."""
        common = self.units.exponent(quantity)
        if self.balance is None or quantity not in ("X", "weights"):
            return common
        return common + self.balance if quantity == "X" else common - self.balance[:, None]

    @property
    def n_outputs(self) -> int:  # noqa: D102
        return int(self.Y.shape[1])

    @property
    def size(self) -> int:
        """Weights that count."""
        return self.pattern.n_free * self.n_outputs

    @property
    def demanded(self) -> int:
        """How many of them have to go for the pattern."""
        return self.pattern.demanded * self.n_outputs

    @cached_property
    def scale(self) -> float:
        """Mean square of a feature, the unit of the ridge; 1 where there is none."""
        return float(np.mean(np.einsum("ij,ij->j", self.X, self.X))) or 1.0

    @cached_property
    def gram(self) -> Array:
        """X'X: of a linear layer all that its samples say beside X'Y."""
        return self.X.T @ self.X

    @cached_property
    def target(self) -> Array:
        """What every row is drawn to: the original weights' signals, where inactive."""
        if self.active is None:
            return self.Y
        bound = 0.0 if self.upper is None else self.upper
        return np.where(self.active, self.Y, np.minimum(self.X @ self.weights, bound))

    def quadratic_arguments(self, ridge: float) -> Mapping[str, Any]:
        """Return the core's arguments for a linear layer, posed by its Gram matrix."""
        return {
            "grams": self.gram[None],
            "form_of": None,
            "correlations": np.ascontiguousarray(self.X.T @ self.Y),
            "prior": self.weights,
            "ridge": ridge,
            "keep": np.ascontiguousarray(self.pattern.keep),
        }

    def core_arguments(self, pull: float, ridge: float) -> Mapping[str, Any]:
        """Return the core's arguments for regularisation in units of this layer."""
        return {
            "X": self.X,
            "target": self.target,
            "upper": self.upper,
            "active": self.active,
            "prior": self.weights,
            "pull": pull,
            "ridge": ridge * self.scale,
            "keep": np.ascontiguousarray(self.pattern.keep),
        }

    def of_outputs(self, outputs: slice | NDArray[Any]) -> BudgetData:
        """Return some outputs of the layer."""
        return replace(
            self,
            behind=None if self.behind is None else self.behind.of(outputs),
            Y=np.ascontiguousarray(self.Y[:, outputs]),
            weights=np.ascontiguousarray(self.weights[:, outputs]),
            upper=None if self.upper is None else np.ascontiguousarray(self.upper[:, outputs]),
            active=None if self.active is None else np.ascontiguousarray(self.active[:, outputs]),
        )

    def select(self, rows: NDArray[Any], outputs: NDArray[Any]) -> BudgetData:
        """Return some samples of some outputs."""
        part = self.of_outputs(outputs)
        return replace(
            part,
            X=self.X[rows],
            Y=part.Y[rows],
            n_samples=len(rows),
            upper=None if part.upper is None else part.upper[rows],
            active=None if part.active is None else part.active[rows],
        )

    def error(self, weights: Array, n_threads: int = 1) -> float:
        """Return the relative error of the outputs, behind what follows."""
        parts = cut_samples(self.Y.shape, SIGNALS_IN_MEMORY)
        looks = [look for part in parts for look in self._errors(part, weights, n_threads)]
        apart, sizes = np.transpose(looks)
        return relative_to(frobenius_norm(apart), frobenius_norm(sizes))

    def _errors(self, part: slice, weights: Array, n_threads: int) -> list[tuple[float, float]]:
        """Return absolute errors and sizes of the outputs for blocks of some samples."""
        signals = self.X[part] @ weights

        def look(block: slice) -> tuple[float, float]:
            samples = slice(part.start + block.start, part.start + block.stop)
            wanted = self.outputs(self.Y[samples], samples)
            given = self.outputs(signals[block], samples)
            return frobenius_norm(given - wanted), frobenius_norm(wanted)

        return map_samples(look, signals.shape, n_threads)

    def outputs(self, signals: Array, samples: slice = slice(None)) -> AnyFloat:
        """Return what follows makes of signals in some samples."""
        if self.behind is not None:
            return self.behind.of_samples(samples).value(signals)
        return activate(signals, "linear" if self.active is None else "relu")

    def preactivation_error(self, weights: Array) -> float:
        """Return the same in front of the ReLU, against the weights there were."""
        change = weights - self.weights
        if isinstance(self.behind, Activation):  # where all rows count alike, and X'X is at hand
            return relative_to(self._size_by_gram(change), self._size_by_gram(self.weights))
        before, after = self.X @ self.weights, self.X @ change
        if isinstance(self.behind, RowWeights):
            before, after = before * self.behind.roots, after * self.behind.roots
        return relative_to(frobenius_norm(after), frobenius_norm(before))

    def _size_by_gram(self, weights: Array) -> float:
        """Return the norm of X @ weights."""
        return float(np.sqrt(max(float(np.vdot(weights, self.gram @ weights)), 0.0)))
