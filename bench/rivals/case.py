"""One output of a layer: for nettrim, its rivals, and the certificate that judges them all."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import nettrim
from bench.common import machine
from nettrim.layer.reference import ReferenceProgram, certify

from .column import Answer, Array, Column, Mask


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer, the penalty that goes with its epsilon, and the answer to both."""

    X: Array
    Y: Array
    activation: str
    penalty: float
    weights: Array

    @classmethod
    def of(cls, X: Array, Y: Array, activation: str, epsilon: float) -> Layer:
        X = np.ascontiguousarray(X[:, X.any(axis=0)])
        best = nettrim.solve_layer(
            X, Y, epsilon=epsilon, activation=activation, n_threads=machine.threads()
        )
        return cls(X, Y, activation, best.penalty, best.weights)

    @property
    def linear(self) -> bool:
        return self.activation == "linear"

    @property
    def active(self) -> Mask:
        return np.ones(self.Y.shape, bool) if self.linear else self.Y > 0

    def outputs(self, count: int) -> list[int]:
        """Even steps in the order of active samples; no output whose weights are all zero."""
        order = np.argsort(self.active.sum(axis=0), kind="stable")
        order = order[self.weights.any(axis=0)[order]]
        return [int(order[(2 * k + 1) * len(order) // (2 * count)]) for k in range(count)]

    def solve(self, Y: Array, **keywords: Any) -> nettrim.LayerSolution:
        return nettrim.solve_layer(
            self.X,
            Y,
            penalty=self.penalty,
            activation=self.activation,
            n_threads=machine.threads(),
            **keywords,
        )


@dataclass(frozen=True)
class Case:
    """One output of a layer: for nettrim, for the rivals and for the certificate."""

    layer: Layer
    output: int
    column: Column
    penalised: ReferenceProgram
    constrained: ReferenceProgram

    @classmethod
    def of(cls, layer: Layer, output: int) -> Case:
        y, active = layer.Y[:, [output]], layer.active[:, [output]]
        target = np.where(active, y, 0.0)
        misfit = (layer.X @ layer.weights[:, [output]] - y)[active]
        epsilon = float(np.linalg.norm(misfit))
        return cls(
            layer,
            output,
            Column.of(layer.X, y[:, 0], active[:, 0], layer.penalty, epsilon),
            ReferenceProgram(layer.X, target, active, penalty=layer.penalty),
            ReferenceProgram(layer.X, target, active, epsilon=epsilon),
        )

    @property
    def y(self) -> Array:
        return self.layer.Y[:, [self.output]]

    @property
    def size(self) -> float:
        return float(np.abs(self.penalised.target).max())

    def fresh(self) -> Column:
        """The column with nothing computed yet but what all outputs of a linear layer share."""
        return self.column if self.layer.linear else dataclasses.replace(self.column)

    def shared_seconds(self) -> float:
        """What one output of a linear layer owes for the Gram matrix, which is computed here."""
        if not self.layer.linear:
            return 0.0
        start = time.perf_counter()
        _ = self.column.gram
        return (time.perf_counter() - start) / self.layer.Y.shape[1]

    def error(self, program: ReferenceProgram, weights: Array, duals: Iterable[Array]) -> float:
        """The larger of gap and infeasibility, with the best of the dual candidates."""
        proofs = [certify(program, weights, dual) for dual in duals]
        best = max(proofs, key=lambda proof: proof.dual_bound)
        excess = 0.0 if program.epsilon is None else best.residual / program.epsilon - 1
        return max(abs(best.gap), best.violation / self.size, excess)

    def error_of(self, answer: Answer, constrained: bool) -> float:
        """The error of a rival's answer, which is at unit size."""
        column = self.column
        program = self.constrained if constrained else self.penalised
        penalty = 1.0 if constrained else self.layer.penalty
        implied = np.append(column.fit_dual(answer.weights), answer.dual[len(column.y) :])
        return self.error(
            program,
            column.layer_weights(answer.weights),
            [penalty * column.layer_dual(dual) for dual in (answer.dual, implied)],
        )
