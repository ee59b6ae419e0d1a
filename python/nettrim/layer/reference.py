r"""The layer program in plain NumPy, slow and obvious: what the compiled core must equal.

With samples as rows, ``active`` the entries where ``Y > 0`` (every entry of a linear layer) and
:math:`\Vert\cdot\Vert_1` the sum of absolute values, the constrained program is

.. math:: \min_U \Vert U\Vert_1 \quad\text{s.t.}\quad
          \Vert (XU - Y)_{active}\Vert_F \le \epsilon,\qquad (XU)_{inactive} \le upper,

and the penalised one :math:`\min_U \Vert (XU-Y)_{active}\Vert_F^2 + penalty\,\Vert U\Vert_1` under
the same half-spaces (Net-Trim, NIPS 2017, program (P); the penalised form is its first code's).
With costs :math:`\Vert U\Vert_1` is the sum of :math:`c_{ij}|U_{ij}|`, and :math:`U_{ij} = 0` where
:math:`c_{ij}` is infinite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..models.unfold import Window

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = [
    "ConvolutionOperator",
    "Iterate",
    "ReferenceCertificate",
    "ReferenceProgram",
    "admm",
    "certify",
]

PROXIMAL_WEIGHT = 0.09  # weight of W's own copy, over the largest column norm of X squared: (0.3)^2
RELAXATION = 1.8
NO_BOUND = 1e100  # a target of inactive rows that stands for none


@dataclass(frozen=True)
class ReferenceProgram:
    """A layer program: arrays of the module's formulas, and exactly one of the two scalars.

    ``target`` is Y where active and the upper bound elsewhere.
    """

    X: Array
    target: Array
    active: Mask
    epsilon: float | None = None
    penalty: float | None = None
    costs: Array | float = 1.0

    @classmethod
    def of(
        cls,
        X: Array,
        Y: Array,
        *,
        epsilon: float | None = None,
        penalty: float | None = None,
        activation: str = "relu",
        upper: Array | float = 0.0,
        costs: Array | float = 1.0,
    ) -> ReferenceProgram:
        """Read ``active`` off Y, as `nettrim.solve_layer` does."""
        active = Y > 0 if activation == "relu" else np.ones(Y.shape, bool)
        return cls(X, np.where(active, Y, upper), active, epsilon, penalty, costs)

    def norm(self, weights: Array) -> float:
        """L1 norm at the program's costs."""
        used = weights != 0
        costs = np.broadcast_to(self.costs, weights.shape)
        return float(np.abs(weights[used]) @ costs[used])

    def drawn_to(self, original: Array, ridge: float, pull: float) -> ReferenceProgram:
        r"""Append the rows that draw weights to ``original``, all of them active.

        :math:`\sqrt{ridge}\,I` with targets :math:`\sqrt{ridge}\,W`, and the inactive rows again,
        times :math:`\sqrt{pull}`, with targets :math:`\sqrt{pull}\,XW`. Nothing is asked of the
        copies of active rows.
        """
        signals = np.sqrt(pull) * (self.X @ original)
        return ReferenceProgram(
            np.vstack([self.X, np.sqrt(ridge) * np.eye(len(original)), np.sqrt(pull) * self.X]),
            np.vstack(
                [self.target, np.sqrt(ridge) * original, np.where(self.active, NO_BOUND, signals)]
            ),
            np.vstack([self.active, np.ones(original.shape, bool), ~self.active]),
            self.epsilon,
            self.penalty,
            self.costs,
        )

    def dual_of_drawn(self, dual: Array, slopes: Array, weights: Array) -> Array:
        """Append the multipliers of those rows: slopes times what is missing beside weights."""
        missing = np.where(self.active, self.target - self.X @ weights, 0)[len(dual) :]
        return np.vstack([dual, slopes * missing])


@dataclass(frozen=True)
class ReferenceCertificate:
    """What weights and a dual candidate prove about a program."""

    objective: float
    dual_bound: float
    residual: float
    violation: float

    @property
    def gap(self) -> float:
        """Relative duality gap; negative where the weights are not feasible."""
        return (self.objective - self.dual_bound) / max(abs(self.objective), np.finfo(float).tiny)


def certify(program: ReferenceProgram, weights: Array, dual: Array) -> ReferenceCertificate:
    r"""Objective and feasibility of `weights`, and the bound that `dual` proves after repair.

    Repair makes any candidate :math:`G` dual feasible: positive inactive entries are cut to zero
    and each output is scaled. Constrained: with :math:`\Vert X^TG\Vert_{max}\le 1`,
    :math:`\langle G, target\rangle - \epsilon\Vert G_{active}\Vert_F` bounds the optimum from
    below, where the largest entry is that over the costs. Penalised: with
    :math:`\Vert X^TG\Vert_{max}\le penalty`, so does
    :math:`\langle G, target\rangle - \Vert G_{active}\Vert_F^2/4`, and each output takes its best
    scale.
    """
    residuals = program.X @ weights - program.target
    fit = float(np.linalg.norm(residuals[program.active]))
    violation = float(np.maximum(residuals[~program.active], 0).max(initial=0.0))
    l1 = program.norm(weights)

    dual = np.where(program.active, dual, np.minimum(dual, 0))
    steepest = (np.abs(program.X.T @ dual) / program.costs).max(axis=0)
    linear = np.sum(dual * program.target, axis=0)
    square = np.sum(np.where(program.active, dual, 0) ** 2, axis=0)
    if program.epsilon is not None:
        scale = 1 / np.maximum(steepest, 1.0)
        bound = scale @ linear - program.epsilon * np.sqrt(scale**2 @ square)
        return ReferenceCertificate(l1, max(float(bound), 0.0), fit, violation)
    assert program.penalty is not None
    tiny, huge = np.finfo(float).tiny, np.finfo(float).max
    flat = max(tiny, 2 * program.penalty / huge)  # a ray's products: it has no limit
    most = program.penalty / np.maximum(steepest, flat)
    scale = np.clip(2 * linear / np.maximum(square, tiny), 0, most)
    bound = np.sum(scale * (linear - scale * square / 4))
    return ReferenceCertificate(fit**2 + program.penalty * l1, float(bound), fit, violation)


@dataclass(frozen=True)
class Iterate:
    """One step of `admm`: the sparse weights, the dual candidate and the splitting's own state."""

    iteration: int
    weights: Array  # W2, exactly sparse
    dual: Array  # rho * (W1 - Z), in the units of the program
    U1: Array  # scaled multiplier of W1 = X W3
    U2: Array  # scaled multiplier of W2 = W3
    rho: float


def admm(
    program: ReferenceProgram, *, rho: float | None = None, relaxation: float = RELAXATION
) -> Iterator[Iterate]:
    r"""Iterate the exact splitting :math:`W_1 = XW_3,\; W_2 = W_3`, for ever.

    The metric weighs the second copy by a constant :math:`\sigma`, so that
    :math:`X^TX + \sigma I` is factored once; :math:`X^TU_1 + \sigma U_2 = 0` after every step.
    (Net-Trim, NIPS 2017 supplement, Algorithm 1, written as Douglas-Rachford on
    :math:`S = XW_3 + U_1`, which is the same iteration with two arrays fewer.)
    """
    X, target = program.X, program.target
    sigma = PROXIMAL_WEIGHT * max(float((X**2).sum(axis=0).max()), np.finfo(float).tiny)
    factor = linalg.cho_factor(X.T @ X + sigma * np.eye(X.shape[1]))
    S1, S2 = np.zeros(target.shape), np.zeros((X.shape[1], target.shape[1]))
    penalty = 1.0 if program.penalty is None else program.penalty
    if rho is None:
        ridge = linalg.cho_solve(factor, X.T @ target)
        rho = penalty / max(sigma * float(np.abs(ridge).mean()), np.finfo(float).tiny)
    iteration = 0
    while True:
        iteration += 1
        W3 = linalg.cho_solve(factor, X.T @ S1 + sigma * S2)
        XW = X @ W3
        Z1, Z2 = 2 * XW - S1, 2 * W3 - S2
        W1 = _proximal_step(program, Z1, rho)
        threshold = penalty * program.costs / (rho * sigma)
        W2 = np.sign(Z2) * np.maximum(np.abs(Z2) - threshold, 0)
        yield Iterate(iteration, W2, rho * (W1 - Z1), S1 - XW, S2 - W3, rho)
        S1 = S1 + relaxation * (W1 - XW)
        S2 = S2 + relaxation * (W2 - W3)


def _proximal_step(program: ReferenceProgram, Z: Array, rho: float) -> Array:
    """Proximal step of the fit: onto ball and half-spaces, or towards Y by the quadratic."""
    difference = Z - program.target
    if program.epsilon is not None:
        distance = float(np.linalg.norm(difference[program.active]))
        keep = min(1.0, program.epsilon / distance) if distance > 0 else 1.0
    else:
        keep = rho / (2 + rho)
    return program.target + np.where(program.active, keep * difference, np.minimum(difference, 0))


@dataclass(frozen=True)
class ConvolutionOperator:
    """A convolution as a map of its weights, without unfolding.

    The program: docs/mathematics/layer.md#convolutions.

    Attributes
    ----------
    values : ndarray of shape (n, channels, *size)
        Input of the layer.
    window : Window
        What a kernel sees of it.
    """

    values: Array
    window: Window

    def signals(self, kernels: Array) -> Array:
        """Convolve with kernels (outputs, channels, *kernel): (n, outputs, *positions)."""
        patches, n_axes = self._patches, len(self.window.kernel)
        seen = [1, *range(2 + n_axes, patches.ndim)]
        return np.moveaxis(np.tensordot(patches, kernels, (seen, range(1, kernels.ndim))), -1, 1)

    def correlations(self, signals: Array) -> Array:
        """Return the adjoint: the gradient with respect to the kernels."""
        positions = [0, *range(2, signals.ndim)]
        return np.tensordot(signals, self._patches, (positions, positions))

    def ridge(self, signals: Array, kernels: Array, sigma: float, n_steps: int = 20) -> Array:
        r"""Take a ridge step by conjugate gradients.

        Solves :math:`(A^*A + \sigma I)\,W = A^*(signals) + \sigma\,kernels`. This is the step
        of `admm` that the published solver for convolutions takes so, 10 at a time from zero; here
        they begin at `kernels` and end early where the residual is rounding.
        """
        solution = kernels.copy()
        residual = self.correlations(signals - self.signals(kernels))
        direction, square = residual, float(np.sum(residual**2))
        least = square * np.finfo(float).eps ** 2
        for _ in range(n_steps):
            if square <= least:
                break
            image = self.signals(direction)
            step = square / (np.sum(image**2) + sigma * np.sum(direction**2))
            solution = solution + step * direction
            residual = residual - step * (self.correlations(image) + sigma * direction)
            before, square = square, float(np.sum(residual**2))
            direction = residual + (square / before) * direction
        return solution

    @property
    def _patches(self) -> Array:
        return self.window.patches(self.values)
