"""Programs of units: random ones, and their referee Clarabel, which shares no code with nettrim."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import clarabel
import numpy as np
from scipy import sparse

import nettrim
from support.conic import INFEASIBLE, PRECISION, REFINEMENT
from support.problems import Array


@dataclass(frozen=True, repr=False)
class Reader:
    """One layer that reads the signal."""

    X: Array
    Y: Array
    groups: Any
    relu: bool
    upper: Array | None = None

    @property
    def active(self) -> Any:
        return self.Y > 0 if self.relu else np.ones(self.Y.shape, bool)

    @property
    def ceiling(self) -> Array:
        return np.zeros_like(self.Y) if self.upper is None else self.upper


@dataclass(frozen=True, repr=False)
class UnitsCase:
    """Readers, prices, and the radius or the penalty."""

    readers: tuple[Reader, ...]
    prices: Array
    epsilon: float | None = None
    penalty: float | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `nettrim.solve_units`."""
        each = {
            "X": [r.X for r in self.readers],
            "Y": [r.Y for r in self.readers],
            "groups": [r.groups for r in self.readers],
            "activation": ["relu" if r.relu else "linear" for r in self.readers],
            "upper": [r.upper for r in self.readers],
        }
        if len(self.readers) == 1:
            each = {name: value[0] for name, value in each.items()}
        return {**each, "prices": self.prices, "epsilon": self.epsilon, "penalty": self.penalty}

    def solve(self, **options: Any) -> nettrim.UnitsSolution:
        return nettrim.solve_units(**self.arguments(), **options)

    def each(self, given: Any) -> tuple[Array, ...]:
        """What an answer holds of every reader."""
        return given if isinstance(given, tuple) else (given,)

    def norms(self, weights: Any) -> Array:
        """Of every unit's weights, all readers together."""
        squares = np.zeros(len(self.prices))
        for reader, W in zip(self.readers, self.each(weights), strict=True):
            for g in range(len(squares)):
                squares[g] += (W[reader.groups == g] ** 2).sum()
        return np.sqrt(squares)

    def residual(self, weights: Any) -> float:
        misfits = [
            (r.X @ W - r.Y)[r.active] for r, W in zip(self.readers, self.each(weights), strict=True)
        ]
        return float(np.linalg.norm(np.concatenate(misfits)))

    def violation(self, weights: Any) -> float:
        return max(
            float((r.X @ W - r.ceiling)[~r.active].max(initial=0.0))
            for r, W in zip(self.readers, self.each(weights), strict=True)
        )

    def objective(self, weights: Any) -> float:
        norm = float(self.prices @ self.norms(weights))
        return norm if self.penalty is None else self.residual(weights) ** 2 + self.penalty * norm

    def slopes(self, dual: Any) -> tuple[Array, float]:
        """||X_g'G|| over the price of every unit, and the largest |x'G| of a feature of none."""
        squares, free = np.zeros(len(self.prices)), 0.0
        for reader, G in zip(self.readers, self.each(dual), strict=True):
            gradient = reader.X.T @ G
            for g in range(len(squares)):
                squares[g] += (gradient[reader.groups == g] ** 2).sum()
            free = max(free, float(np.abs(gradient[reader.groups < 0]).max(initial=0.0)))
        return np.sqrt(squares) / self.prices, free

    def value(self, dual: Any) -> float:
        """What multipliers prove if they satisfy the constraints."""
        linear = square = 0.0
        for reader, G in zip(self.readers, self.each(dual), strict=True):
            linear += float((G * np.where(reader.active, reader.Y, reader.ceiling)).sum())
            square += float((G[reader.active] ** 2).sum())
        if self.epsilon is not None:
            return linear - self.epsilon * float(np.sqrt(square))
        return linear - square / 4

    def scaled(self, x: float, y: float) -> UnitsCase:
        """The same program in other units."""
        readers = tuple(
            replace(r, X=x * r.X, Y=y * r.Y, upper=None if r.upper is None else y * r.upper)
            for r in self.readers
        )
        return replace(
            self,
            readers=readers,
            epsilon=None if self.epsilon is None else self.epsilon * y,
            penalty=None if self.penalty is None else self.penalty * x * y,
        )


def random_case(seed: int) -> UnitsCase:
    """Readers of random shapes, ReLU and linear, of the same samples or of others."""
    rng = np.random.default_rng(seed)
    n_units = int(rng.integers(2, 7))
    prices = np.ones(n_units) if rng.random() < 0.4 else rng.uniform(0.3, 3, n_units)
    readers = [random_reader(rng, n_units)]
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        other = random_reader(rng, n_units)
        if rng.random() < 0.6:  # a layer beside the first
            n_outputs = other.Y.shape[1]
            other = reader_of(rng, readers[0].X, readers[0].groups, n_outputs)
        readers.append(other)
    case = UnitsCase(tuple(readers), prices)
    size = float(np.sqrt(sum((r.Y[r.active] ** 2).sum() for r in readers))) or 1.0
    if rng.random() < 0.6:
        return replace(case, epsilon=float(rng.uniform(0.02, 0.9)) * size)
    largest = max(float(np.linalg.norm(r.X, axis=0).max()) for r in readers)
    return replace(case, penalty=float(10 ** rng.uniform(-2, -0.3)) * size * largest)


def random_reader(rng: np.random.Generator, n_units: int) -> Reader:
    groups = np.concatenate([np.full(int(rng.integers(1, 4)), g) for g in range(n_units)])
    groups = np.append(groups, np.full(int(rng.integers(0, 3)), -1))
    X = rng.standard_normal((int(rng.integers(12, 40)), len(groups)))
    if rng.random() < 0.5:
        X = np.maximum(X, 0)
    if groups[-1] < 0:
        X[:, -1] = 1.0
    return reader_of(rng, X, groups, int(rng.integers(1, 5)))


def reader_of(rng: np.random.Generator, X: Array, groups: Any, n_outputs: int) -> Reader:
    weights = rng.standard_normal((X.shape[1], n_outputs)) / np.sqrt(X.shape[1])
    signal = X @ weights
    relu = bool(rng.random() < 0.7)
    upper = None
    if relu and rng.random() < 0.4:  # of any sign, and met by the weights
        upper = np.where(signal > 0, 0.0, signal + rng.random(signal.shape))
    return Reader(X, np.maximum(signal, 0) if relu else signal, groups, relu, upper)


def referee(case: UnitsCase) -> float | None:
    """The optimum to ten digits; None where the program is infeasible."""
    widths = [r.X.shape[1] * r.Y.shape[1] for r in case.readers]
    n, n_units = sum(widths), len(case.prices)
    on = sparse.block_diag([x for r in case.readers for x in rows(r, r.active)], format="csr")
    off = sparse.block_diag([x for r in case.readers for x in rows(r, ~r.active)], format="csr")
    y = np.concatenate([r.Y.T[r.active.T] for r in case.readers])
    v = np.concatenate([r.ceiling.T[~r.active.T] for r in case.readers])
    unit_of = np.concatenate([np.tile(r.groups, r.Y.shape[1]) for r in case.readers])
    total = n + n_units + len(y)  # the weights, the norms, the misfit
    misfit = sparse.eye_array(len(y))
    blocks: list[list[Any]] = [
        [on, sparse.csr_array((len(y), n_units)), -misfit],
        [off, sparse.csr_array((len(v), n_units)), sparse.csr_array((len(v), len(y)))],
    ]
    b, cones = [y, v], [clarabel.ZeroConeT(len(y)), clarabel.NonnegativeConeT(len(v))]
    A = [sparse.hstack(block) for block in blocks]
    for g in range(n_units):
        members = np.flatnonzero(unit_of == g)
        places = np.append(n + g, members)
        A.append(-picked(places, total))
        b.append(np.zeros(len(places)))
        cones.append(clarabel.SecondOrderConeT(len(places)))
    curvature, price = np.zeros(total), np.zeros(total)
    price[n : n + n_units] = case.prices
    if case.epsilon is not None:
        A.append(
            sparse.vstack(
                [sparse.csr_array((1, total)), -picked(np.arange(n + n_units, total), total)]
            )
        )
        b.append(np.append(case.epsilon, np.zeros(len(y))))
        cones.append(clarabel.SecondOrderConeT(1 + len(y)))
    else:
        curvature[n + n_units :] = 2.0
        price *= case.penalty
    settings = clarabel.DefaultSettings()
    for name, value in {**PRECISION, **REFINEMENT, "verbose": False, "max_threads": 1}.items():
        setattr(settings, name, value)
    answer = clarabel.DefaultSolver(
        sparse.diags_array(curvature, format="csc"),
        price,
        sparse.csc_matrix(sparse.vstack(A)),
        np.concatenate(b),
        cones,
        settings,
    ).solve()
    if answer.status in INFEASIBLE:
        return None
    return float(answer.obj_val)


def rows(reader: Reader, chosen: Any) -> list[Array]:
    """The rows of X that meet the chosen entries of each output."""
    return [reader.X[c] for c in chosen.T]


def picked(places: Any, total: int) -> Any:
    """The rows of a unit matrix."""
    data = np.ones(len(places))
    return sparse.csr_array((data, (np.arange(len(places)), places)), shape=(len(places), total))
