"""One output of a layer at unit size, and the two forms in which a QP solver can be given it.

With A the rows of X where the output is active and B the others, the penalised program of
`nettrim.solve_layer`, divided by its penalty, is

    minimise  weight * ||A u - y||^2 + ||u||_1   subject to  B u <= 0

for inputs and outputs divided by their largest entries, so that absolute tolerances mean something.
Its dual is the form that most sparse solvers like best: X stands in it once, there are no Gram
matrix and no doubled variables, and the weights are the multipliers of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Answer(NamedTuple):
    """What a solver returns for a `Column`, at unit size."""

    weights: Array
    dual: Array  # of the fit where active, then of the half-spaces: not positive
    status: str


@dataclass(frozen=True)
class Column:
    """One output at unit size; no feature may be zero in every sample."""

    A: Array
    B: Array
    y: Array
    weight: float
    epsilon: float  # ||A u - y|| at the optimum: the same program in the constrained form
    active: Mask
    sizes: tuple[float, float]  # largest entry of X, and of the output

    @classmethod
    def of(cls, X: Array, y: Array, active: Mask, penalty: float, epsilon: float) -> Column:
        sx, sy = float(np.abs(X).max()), float(np.abs(y).max())
        A, B = X[active] / sx, X[~active] / sx
        return cls(A, B, y[active] / sy, sx * sy / penalty, epsilon / sy, active, (sx, sy))

    @cached_property
    def gram(self) -> Array:
        """A'A; a linear layer has one for all of its outputs."""
        return self.A.T @ self.A

    def fit_dual(self, weights: Array) -> Array:
        """What the dual is at the optimum, where active."""
        return 2 * self.weight * (self.y - self.A @ weights)

    def layer_weights(self, weights: Array) -> Array:
        """Weights in the units of the layer, as one column."""
        sx, sy = self.sizes
        return weights[:, None] * (sy / sx)

    def layer_dual(self, dual: Array) -> Array:
        """Dual of the constrained form, in the layer's units and order of samples: a column."""
        result = np.empty((len(self.active), 1))
        result[self.active, 0], result[~self.active, 0] = np.split(dual, [len(self.y)])
        return result / self.sizes[0]


@dataclass(frozen=True)
class SplitForm:
    """x = (p, q) >= 0 with u = p - q: minimise x'Hx/2 + c'x subject to G x <= 0; all dense."""

    column: Column
    H: Array
    c: Array
    G: Array

    @classmethod
    def of(cls, column: Column) -> SplitForm:
        K = 2 * column.weight * column.gram
        k = 2 * column.weight * (column.A.T @ column.y)
        H = np.block([[K, -K], [-K, K]])
        return cls(column, H, np.concatenate([1 - k, 1 + k]), np.hstack([column.B, -column.B]))

    def sparse(self) -> tuple[sparse.csc_matrix, sparse.csc_matrix]:
        """The lower triangle of H, and G over the unit matrix of the bounds."""
        return (
            sparse.csc_matrix(np.tril(self.H)),
            sparse.vstack([sparse.csc_matrix(self.G), sparse.eye(len(self.c))], format="csc"),
        )

    def answer(self, x: Array, multipliers: Array, status: object) -> Answer:
        """Read (p, q) and the multipliers of G x <= 0, which are not negative."""
        p, q = np.split(np.asarray(x), 2)
        u = p - q
        return Answer(u, np.concatenate([self.column.fit_dual(u), -multipliers]), str(status))


@dataclass(frozen=True)
class DualForm:
    """Minimise g'Pg/2 - q'g subject to -1 <= X'g <= 1 and g <= 0 where inactive; P is diagonal."""

    column: Column
    P: sparse.csc_matrix
    q: Array
    Xt: sparse.csc_matrix

    @classmethod
    def of(cls, column: Column) -> DualForm:
        a, b = len(column.A), len(column.B)
        P = np.concatenate([np.full(a, 0.5 / column.weight), np.zeros(b)])
        Xt = sparse.csc_matrix(np.vstack([column.A, column.B]).T)
        return cls(column, sparse.diags(P, format="csc"), np.append(-column.y, np.zeros(b)), Xt)

    @property
    def upper(self) -> Array:
        """Upper bounds of g."""
        return np.where(np.arange(len(self.q)) < len(self.column.A), np.inf, 0.0)

    def signs(self) -> sparse.csc_matrix:
        """The rows of a unit matrix that bound g where inactive."""
        return sparse.eye(len(self.q), format="csr")[len(self.column.A) :].tocsc()

    def answer(self, g: Array, multipliers: Array, status: object) -> Answer:
        """Read g and the multipliers of X'g, positive at its upper bound."""
        return Answer(np.asarray(multipliers), np.asarray(g), str(status))
