"""Random calls of what solves one layer, judged in extended precision by the papers' formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import nettrim
from support.random_entry import (
    Arguments,
    Entry,
    Extended,
    Random,
    close,
    extended,
    maybe,
    norm,
    pick,
    spoiled_array,
)

STATUSES = {"optimal", "max_iter", "time_limit", "interrupted", "infeasible", "numerical"}
ROUNDING = 1e-9
SURE = 0.01  # relative error of a bound, from which nothing can be said of it
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Layer:
    """A layer program with all that is left out filled in."""

    X: Extended  # (groups, n_samples, n_features)
    Y: Extended
    upper: Extended
    active: Any

    @classmethod
    def of(cls, arguments: Arguments) -> Layer:
        """Read it from the arguments of a call that was accepted."""
        precision = np.dtype(arguments.get("dtype", np.float64))
        X, Y = (np.asarray(arguments[name]).astype(precision) for name in ("X", "Y"))
        groups = int(arguments.get("groups", 1))
        upper, active = arguments.get("upper"), arguments.get("active")
        if arguments.get("activation", "relu") == "linear":
            active = np.ones(Y.shape, bool)
        elif active is None:
            active = Y > 0
        ceiling = np.broadcast_to(np.asarray(0.0 if upper is None else upper), Y.shape)
        by_group = np.moveaxis(X.reshape(len(X), groups, -1), 1, 0)
        return cls(
            extended(by_group), extended(Y), extended(ceiling.astype(precision)), np.asarray(active)
        )

    def signal(self, weights: Any) -> Extended:
        """Return X @ weights, every group for itself."""
        parts = np.split(extended(weights), len(self.X), axis=1)
        return np.hstack([X @ part for X, part in zip(self.X, parts, strict=True)])

    def residual(self, weights: Any) -> float:
        """Return the distance to Y where active."""
        return norm((self.signal(weights) - self.Y)[self.active])

    def size(self, width: int | None = None) -> float:
        """Return the unit of violations: the largest of all blocks of so many outputs."""
        n_outputs = self.Y.shape[1]
        width = width or n_outputs
        blocks = [slice(k, k + width) for k in range(0, n_outputs, width)]
        return max(
            float(np.abs(self.Y[:, b]).max() or np.abs(self.upper[:, b]).max()) for b in blocks
        )

    def violation(self, weights: Any) -> float:
        """Return the largest excess elsewhere."""
        excess = (self.signal(weights) - self.upper)[~self.active]
        return max(float(excess.max(initial=0.0)), 0.0)

    def rounding(self, weights: Any) -> float:
        """Return what doubles can do to an entry of X @ weights."""
        parts = np.split(np.abs(extended(weights)), len(self.X), axis=1)
        sums = [np.abs(X) @ part for X, part in zip(self.X, parts, strict=True)]
        terms = max(float(s.max()) for s in sums) + float(np.abs(self.Y).max())
        terms += float(np.abs(self.upper).max())
        return 8 * EPSILON * self.X.shape[2] * terms

    def bound(self, dual: Any, epsilon: float | None, penalty: float | None) -> tuple[float, float]:
        """Return what multipliers prove by weak duality, and how far rounding makes that unsure."""
        G = extended(dual)
        parts = np.split(G, len(self.X), axis=1)
        slopes = [np.abs(X.T @ part).max() for X, part in zip(self.X, parts, strict=True)]
        terms = max(
            float((np.abs(X.T) @ np.abs(part)).max()) for X, part in zip(self.X, parts, strict=True)
        )
        price = 1.0 if penalty is None else penalty
        precision = float(np.finfo(np.asarray(dual).dtype).eps)
        unsure = 8 * precision * len(self.Y) * terms / price
        G = G / max(float(max(slopes)) / price, 1.0)
        on, off = G[self.active], G[~self.active]
        gain = (on * self.Y[self.active]).sum() + (off * self.upper[~self.active]).sum()
        size = float((np.abs(G) * np.abs(np.where(self.active, self.Y, self.upper))).sum())
        proved = gain - epsilon * norm(on) if penalty is None else gain - norm(on) ** 2 / 4
        return float(proved), unsure + 64 * precision * size / (abs(float(proved)) or 1.0)


def random_layer(rng: Random) -> Arguments:
    """Return inputs, outputs and the weights that made them; mostly of moderate size."""
    n_samples, n_features, n_outputs = (int(n) for n in rng.integers([1, 1, 1], [40, 10, 6]))
    X = rng.standard_normal((n_samples, n_features))
    weights = rng.standard_normal((n_features, n_outputs))
    kind = int(rng.integers(8))
    if kind == 0:
        X = np.maximum(X, 0)
    elif kind == 1:
        X[:, rng.random(n_features) < 0.4] = 0
    elif kind == 2:
        X[:, -1] = X[:, 0]
    elif kind == 3:
        X[:] = X[:1]
    elif kind == 4:
        X *= 10.0 ** rng.uniform(-30, 30)
    elif kind == 5:
        X[:, -1] = 1
        weights[-1] -= 1
    elif kind == 6:
        weights *= rng.random(weights.shape) < 0.3
    return {"X": X, "weights": weights}


def random_program(rng: Random) -> tuple[Arguments, Any]:
    """Return the data of a layer program, and weights that meet it."""
    data = random_layer(rng)
    X, weights = data["X"], data["weights"]
    Z = X @ weights
    if rng.random() < 0.3:
        return {"X": X, "Y": Z, "activation": "linear"}, weights
    arguments = {"X": X, "Y": np.maximum(Z, 0)}
    kind = int(rng.integers(4))
    if kind == 0:
        arguments["upper"] = np.where(Z > 0, 0.0, Z * rng.random(Z.shape))
    elif kind == 1:
        arguments |= {"Y": Z, "active": Z > 0, "upper": 0.0}
    elif kind == 2:
        arguments["activation"] = "relu"
    return arguments, weights


def assert_true(
    arguments: Arguments, solution: nettrim.LayerSolution, tol: float, witness: Any = None
) -> bool:
    """Check everything a certificate says against data, weights and multipliers."""
    status = solution.status
    assert status in STATUSES, status
    assert str(solution)
    if not (np.isfinite(solution.weights).all() and np.isfinite(solution.dual).all()):
        assert status == "numerical", f"{status} of weights or multipliers that are no numbers"
        return False
    layer, U = Layer.of(arguments), solution.weights
    penalised = arguments.get("penalty") is not None
    epsilon, penalty = solution.epsilon, solution.penalty if penalised else None
    l1 = float(np.abs(extended(U)).sum())
    residual, violation, rounding = layer.residual(U), layer.violation(U), layer.rounding(U)
    unsure = rounding * np.sqrt(layer.Y.size)
    assert abs(residual - solution.residual) <= 1e-6 * residual + unsure, (
        f"residual {solution.residual}, truly {residual}"
    )
    assert abs(violation - solution.violation) <= 1e-6 * violation + rounding, (
        f"violation {solution.violation}, truly {violation}"
    )
    objective = residual**2 + penalty * l1 if penalised else l1
    assert close(solution.objective, objective, 1e-6, unsure**2 if penalised else 0), (
        f"objective {solution.objective}, truly {objective}"
    )
    _assert_bounded(layer, solution, None if penalised else epsilon, penalty, objective)
    if status == "optimal":
        size = layer.size(arguments.get("block_outputs"))
        assert violation <= tol * (1 + 1e-6) * size + rounding, f"violation {violation:g}"
        if not penalised:
            is_zero = epsilon / (size or 1.0) == 0  # beside Y, as far as numbers reach
            allowed = norm(layer.Y[layer.active]) if is_zero else epsilon
            assert residual <= epsilon + tol * (1 + 1e-6) * allowed + unsure, (
                f"residual {residual:g} beyond {epsilon:g}"
            )
        assert solution.gap <= tol * (1 + 1e-6), f"optimal with a gap of {solution.gap:g}"
    if witness is not None and not penalised:
        _assert_possible(layer, solution, witness, epsilon)
    return status == "optimal"


def _assert_bounded(
    layer: Layer,
    solution: nettrim.LayerSolution,
    epsilon: float | None,
    penalty: float | None,
    objective: float,
) -> None:
    off = extended(solution.dual)[~layer.active]
    assert (off <= 0).all(), "multipliers of upper bounds have the wrong sign"
    proved, unsure = layer.bound(solution.dual, epsilon, penalty)
    if unsure < SURE:
        slack = (ROUNDING + unsure) * max(abs(proved), abs(objective))
        assert solution.dual_bound <= max(proved, 0.0) + slack, (
            f"bound {solution.dual_bound:.12g}, multipliers prove {proved:.12g}"
        )
    if objective and np.isfinite(solution.gap):
        gap = (objective - solution.dual_bound) / objective
        assert abs(solution.gap - gap) <= 1e-6 * max(1, abs(gap)), (
            f"gap {solution.gap}, truly {gap}"
        )


def _assert_possible(layer: Layer, solution: Any, witness: Any, epsilon: float) -> None:
    if layer.residual(witness) > epsilon or layer.violation(witness) > 0:
        return
    assert solution.status != "infeasible", "infeasible, but there are weights that meet it"
    least = float(np.abs(extended(witness)).sum())
    assert solution.dual_bound <= least * (1 + 1e-7), (
        f"bound {solution.dual_bound:.12g} above the objective {least:.12g} of feasible weights"
    )


class SolveLayer(Entry):
    """`nettrim.solve_layer`."""

    function = staticmethod(nettrim.solve_layer)
    share: ClassVar[float] = 2.0
    options: ClassVar = {
        "epsilon": (0.0, 1e-3, 0.5, 10.0),
        "penalty": (1e-3, 0.5, 10.0),
        "activation": ("relu", "linear"),
        "solver": ("auto", "newton", "admm"),
        "dtype": (np.float32, "float64"),
        "groups": (2, 3),
        "block_outputs": (1, 2, 100),
        "max_iter": (1, 10),
        "upper": (0.0, -0.5, 1.0),
        "time_limit": (1e-9, 1.0),
        "ridge": (0.0, 1e-3, 10.0),
        "pull": (0.0, 0.1, 10.0),
    }
    unspoiled = frozenset({"n_threads"})

    def arguments(self, rng: Random) -> Arguments:
        arguments, self.witness = random_program(rng)
        if rng.random() < 0.15 and "active" not in arguments and "upper" not in arguments:
            arguments |= self._grouped(arguments)
        size = float(np.linalg.norm(arguments["Y"])) or 1.0
        if rng.random() < 0.7:
            arguments["epsilon"] = pick(rng, [0.0, 1e-3, 0.1, 0.5, 2.0]) * size
        else:
            largest = float(np.abs(arguments["X"]).max()) or 1.0
            arguments["penalty"] = pick(rng, [1e-3, 0.1, 10.0]) * size * largest
        arguments |= maybe(rng, 0.5, solver=pick(rng, ["auto", "newton", "admm"]))
        arguments |= maybe(rng, 0.3, tol=pick(rng, [1e-8, 1e-4, 0.1]))
        arguments |= maybe(rng, 0.1, max_iter=pick(rng, [1, 30, 1000]))
        arguments |= maybe(rng, 0.1, block_outputs=pick(rng, [1, 2]))
        arguments |= maybe(rng, 0.1, dtype=np.float32, tol=1e-3)
        return {**arguments, "n_threads": 1, "time_limit": 5.0}

    def _grouped(self, arguments: Arguments) -> Arguments:
        self.witness = np.hstack([self.witness, self.witness])
        return {
            "X": np.hstack([arguments["X"]] * 2),
            "Y": np.hstack([arguments["Y"]] * 2),
            "groups": 2,
        }

    def check(self, arguments: Arguments, answer: nettrim.LayerSolution) -> bool:
        fits = self.witness.shape == answer.weights.shape
        tol = float(arguments.get("tol", 1e-6))
        return assert_true(arguments, answer, tol, self.witness if fits else None)


class SolveLayerDrawn(Entry):
    """`nettrim.solve_layer` with a ridge and a pull: a ball that lies within the one without."""

    function = staticmethod(nettrim.solve_layer)
    options: ClassVar = SolveLayer.options
    unspoiled = frozenset({"n_threads"})

    def arguments(self, rng: Random) -> Arguments:
        arguments, self.witness = random_program(rng)
        size = float(np.linalg.norm(arguments["Y"])) or 1.0
        arguments |= {"original": self.witness, "epsilon": pick(rng, [1e-3, 0.1, 0.5, 2.0]) * size}
        arguments["ridge"] = pick(rng, [0.0, 1e-4, 0.1, 10.0])
        arguments["pull"] = 0.0
        if arguments.get("activation") != "linear":
            arguments["pull"] = pick(rng, [0.0, 1e-2, 1.0])
        if arguments["ridge"] == arguments["pull"] == 0:
            arguments["ridge"] = 1e-3
        return {**arguments, "n_threads": 1, "time_limit": 5.0}

    def check(self, arguments: Arguments, answer: nettrim.LayerSolution) -> bool:
        assert answer.status in STATUSES, answer.status
        assert str(answer)
        if answer.status != "optimal" or arguments.get("penalty") is not None:
            return False
        layer, U = Layer.of(arguments), answer.weights
        tol, epsilon = float(arguments.get("tol", 1e-6)), float(answer.epsilon)
        unsure = layer.rounding(U) * np.sqrt(layer.Y.size)
        assert layer.violation(U) <= tol * 1.01 * layer.size() + layer.rounding(U)
        told = self._distance(arguments, layer, U)
        is_zero = epsilon / (layer.size() or 1.0) == 0
        targets = self._distance(arguments, layer, np.zeros_like(U))  # of the larger layer
        allowed = targets if is_zero else epsilon
        assert told <= epsilon + 1.01 * tol * allowed + unsure, f"{told} is beyond {epsilon}"
        l1 = float(np.abs(extended(U)).sum())
        assert close(answer.objective, l1, 1e-6, 0), f"objective {answer.objective}, truly {l1}"
        assert answer.gap <= tol * 1.01
        W = np.asarray(arguments["original"], dtype=np.float64)
        if self._distance(arguments, layer, W) <= epsilon and layer.violation(W) == 0:
            least = float(np.abs(extended(W)).sum())
            assert answer.dual_bound <= least * (1 + 1e-7) + 1e-300, (
                "a bound above feasible weights"
            )
        return True

    def _distance(self, arguments: Arguments, layer: Layer, weights: Any) -> float:
        """Return the root of all that the ball holds."""
        ridge, pull = (float(arguments.get(name) or 0) for name in ("ridge", "pull"))
        moved = extended(weights) - extended(np.asarray(arguments.get("original", weights)))
        away = layer.signal(moved)[~layer.active]
        drawn = ridge * norm(layer.X) ** 2 / layer.X.shape[2] * norm(moved) ** 2
        return float(
            np.sqrt(layer.residual(weights) ** 2 + drawn / len(layer.X) + pull * norm(away) ** 2)
        )


class Trace(Entry):
    """`nettrim.trace`."""

    function = staticmethod(nettrim.trace)
    options: ClassVar = SolveLayer.options
    unspoiled = frozenset({"n_threads"})

    def arguments(self, rng: Random) -> Arguments:
        arguments, _ = random_program(rng)
        size = float(np.linalg.norm(arguments["Y"])) or 1.0
        gains = rng.choice([1e-3, 0.01, 0.1, 0.5, 1.5], int(rng.integers(1, 4)), replace=False)
        arguments |= {"epsilons": gains * size, "n_threads": 1, "time_limit": 5.0}
        return {**arguments, **maybe(rng, 0.3, tol=pick(rng, [1e-8, 1e-4]))}

    def check(self, arguments: Arguments, answer: nettrim.LayerTrace) -> bool:
        assert (np.diff(answer.epsilons) >= 0).all()
        assert str(answer)
        if all(point.status == "optimal" for point in answer):
            assert len(answer) == np.size(arguments["epsilons"])
        tol = float(arguments.get("tol", 1e-6))
        proved = [assert_true(arguments, point, tol) for point in answer]
        return all(proved)


class SolveLayerBudget(Entry):
    """`nettrim.solve_layer_budget`."""

    function = staticmethod(nettrim.solve_layer_budget)
    options: ClassVar = {
        "sparsity": (0.0, 0.5, 1.0),
        "activation": ("relu", "linear"),
        "pattern": ("2:4", "1:2", "1:3"),
        "method": ("surgery", "admm", "reweighted"),
        "pull": (0.0, 0.5, 1.0),
        "ridge": (0.0, 0.1),
        "upper": (0.0, 1.0),
        "swaps": (0, 2),
    }
    unspoiled = frozenset({"n_threads"})

    def arguments(self, rng: Random) -> Arguments:
        arguments, weights = random_program(rng)
        arguments |= {"weights": weights, "n_threads": 1}
        if rng.random() < 0.3:
            arguments["pattern"] = pick(rng, ["1:2", "2:4"])
        else:
            arguments["sparsity"] = float(pick(rng, [0.0, 0.3, 0.5, 0.9, 1.0]))
            arguments |= maybe(rng, 0.5, method=pick(rng, ["surgery", "admm", "reweighted"]))
        arguments |= maybe(rng, 0.2, keep=rng.random(len(weights)) < 0.3)
        arguments |= maybe(rng, 0.1, certify=True)
        arguments |= maybe(rng, 0.2, held_out=(arguments["X"][:5], arguments["Y"][:5]))
        return arguments

    def spoiled(self, name: str, value: Any, rng: Random) -> Any:
        if name == "held_out" and value is not None:
            return tuple(spoiled_array(part, rng) for part in value)
        return super().spoiled(name, value, rng)

    def check(self, arguments: Arguments, answer: nettrim.BudgetSolution) -> bool:
        assert_within_budget(arguments, answer, arguments.get("sparsity"))
        if answer.certificate is not None:
            return answer.certificate.status == "optimal"
        return True


class TraceBudget(Entry):
    """`nettrim.trace_budget`, and a few sparsities of it."""

    function = staticmethod(nettrim.trace_budget)
    options: ClassVar = SolveLayerBudget.options
    unspoiled = frozenset({"n_threads"})

    def arguments(self, rng: Random) -> Arguments:
        arguments, weights = random_program(rng)
        self.sparsity = float(pick(rng, [0.0, 0.5, 0.8, 1.0]))
        return {**arguments, "weights": weights, "n_threads": 1}

    def call(self, arguments: Arguments) -> Any:
        curve = nettrim.trace_budget(**arguments)
        if arguments.get("pattern") is not None:
            return curve, None
        return curve, curve.at(self.sparsity)

    def check(self, arguments: Arguments, answer: Any) -> bool:
        curve, point = answer
        largest = [float(np.abs(arguments[name]).max()) for name in ("X", "weights")]
        if largest[0] * largest[1] < 1e150:  # squares of what is larger have no double
            assert np.isfinite(curve.losses).all()
        if point is not None:
            assert_within_budget(arguments, point, self.sparsity)
        return True


def assert_within_budget(
    arguments: Arguments, answer: nettrim.BudgetSolution, sparsity: Any
) -> None:
    """Count the weights, look at the pattern, and compute the errors again."""
    layer, U = Layer.of(arguments), answer.weights
    assert np.isfinite(U).all()
    assert str(answer)
    keep = arguments.get("keep")
    free = np.ones(len(U), bool) if keep is None else ~np.asarray(keep)
    nonzeros = int(np.count_nonzero(U[free]))
    assert nonzeros == answer.nonzeros <= answer.budget
    if sparsity is not None:
        assert answer.budget == round((1 - float(sparsity)) * U[free].size)
    if arguments.get("pattern") is not None:
        assert_pattern(U[free], arguments["pattern"])
    target, signal = layer.Y, layer.signal(U)
    if arguments.get("activation") in (None, "relu"):
        target, signal = np.maximum(target, 0), np.maximum(signal, 0)
    size = norm(target) or 1.0
    error, grain = norm(signal - target) / size, layer.rounding(U) * np.sqrt(target.size) / size
    assert close(answer.error, error, 1e-6, grain + 1e-12), f"error {answer.error}, truly {error}"


def assert_pattern(weights: Any, pattern: str) -> None:
    """Hold weights, features in rows, against a pattern like "2:4"."""
    most, group = map(int, pattern.split(":"))
    for first in range(0, len(weights), group):
        assert (np.count_nonzero(weights[first : first + group], axis=0) <= most).all()


ENTRIES = (SolveLayer, SolveLayerDrawn, Trace, SolveLayerBudget, TraceBudget)
