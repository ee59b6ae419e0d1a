"""Layer programs with known answers, and generators of random ones.

The fixed problems, `six_neurons` and the like, and their optimal values are golden constants: they
were computed once with CVXPY and Clarabel at 1e-10 and must not drift. They are drawn with samples
in columns, as in the papers, and turned over at the end, because the package keeps samples in rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nettrim

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Program:
    """One layer program and a point known to satisfy its constraints.

    ``weights`` generated the outputs, so they meet the ball with room to spare and every
    half-space.
    """

    X: Array  # (n_samples, n_features), a column of ones included
    Y: Array  # (n_samples, n_outputs)
    weights: Array  # (n_features, n_outputs)
    activation: str = "relu"
    upper: Array | None = None
    epsilon: float | None = None
    penalty: float | None = None
    mask: NDArray[np.bool_] | None = None  # the active set, where it is not Y > 0 (`fixed_biases`)

    @property
    def active(self) -> NDArray[np.bool_]:
        """Where the outputs are asked to match Y; elsewhere they only stay below ``upper``."""
        if self.mask is not None:
            return self.mask
        return self.Y > 0 if self.activation == "relu" else np.ones_like(self.Y, dtype=bool)

    @property
    def ceiling(self) -> Array:
        """``upper`` as a full array."""
        return np.zeros_like(self.Y) if self.upper is None else self.upper

    def at(self, gain: float) -> Program:
        """The constrained program whose epsilon is ``gain`` times the norm of the outputs."""
        return replace(self, epsilon=gain * float(np.linalg.norm(self.Y)), penalty=None)

    def penalised(self, penalty: float) -> Program:
        """The penalised program on the same data."""
        return replace(self, epsilon=None, penalty=penalty)

    def output(self, m: int) -> Program:
        """The program of one output alone."""
        upper = None if self.upper is None else columns(self.upper, m)
        return replace(self, Y=columns(self.Y, m), weights=columns(self.weights, m), upper=upper)

    def solve(self, **options: Any) -> nettrim.LayerSolution:
        """Solve with nettrim."""
        return nettrim.solve_layer(self.X, self.Y, **self.arguments, **options)

    @property
    def arguments(self) -> dict[str, Any]:
        """The program's part of the keywords of `nettrim.solve_layer`."""
        return {
            "activation": self.activation,
            "upper": self.upper,
            "epsilon": self.epsilon,
            "penalty": self.penalty,
        }

    def residual(self, weights: Array) -> float:
        """Frobenius distance to Y on the active entries."""
        return float(np.linalg.norm((self.X @ weights - self.Y)[self.active]))

    def violation(self, weights: Array) -> float:
        """Largest excess over ``upper`` on the inactive entries."""
        excess = (self.X @ weights - self.ceiling)[~self.active]
        return float(max(excess.max(initial=0.0), 0.0))

    def objective(self, weights: Array) -> float:
        """What the program minimises."""
        l1 = float(np.abs(weights).sum())
        return l1 if self.penalty is None else self.residual(weights) ** 2 + self.penalty * l1


def columns(array: Array, *indices: int) -> Array:
    """Some columns of an array, as an array of its own."""
    return np.ascontiguousarray(array[:, list(indices)])


def relu(array: Array) -> Array:
    return np.maximum(array, 0.0)


def with_ones(signal: Array) -> Array:
    """The signal and the column of ones that stands for the bias."""
    return np.column_stack([signal, np.ones(len(signal))])


def layer(X: Array, weights: Array, activation: str = "relu") -> Program:
    """The program of a trained layer: its own outputs are the target."""
    Z = X @ weights
    Y = relu(Z) if activation == "relu" else Z
    return Program(np.ascontiguousarray(X), np.ascontiguousarray(Y), weights.copy(), activation)


# --- six ReLU neurons on Gaussian inputs ----------------------------------------------------------

SIX_NEURONS_OUTPUT_NORM = 17.7287810759
SIX_NEURONS_INPUT_NORM = 50.2641533211
SIX_NEURONS_WEIGHTS_L1 = 20.6854802615
SIX_NEURONS_ACTIVE = 355
SIX_NEURONS_OPTIMA = {
    0.02: 19.70240122,
    0.1: 17.00079955,
    0.3: 12.21526563,
    0.9: 1.47199164,
    1.0: 0.0,
}
SIX_NEURONS_NONZEROS = {0.02: 124, 0.1: 115, 0.3: 103, 0.9: 61, 1.0: 0}
SIX_NEURONS_DUAL_NORM = 1.6571794  # of the active part, at gain 0.1
SIX_NEURONS_PENALTY = 2.1396332  # has the same solution as gain 0.1
SIX_NEURONS_EQUAL_SPLIT = 17.0079  # epsilon split equally over the outputs
SIX_NEURONS_NORM_SPLIT = 17.0458  # epsilon split in proportion to the norms of the outputs
SIX_NEURONS_PENALTY_4_OUTPUT_0 = 10.48647297  # penalised objective of output 0 at penalty 4
SIX_NEURONS_PENALTY_MAX_OUTPUT_0 = 38.216  # from here on output 0 is zero
SIX_NEURONS_LINEAR_NORM = 24.81517088
SIX_NEURONS_LINEAR_OPTIMUM = 17.88310495  # gain 0.1, 114 nonzeros
FIXED_BIASES_OPTIMUM = 17.62885707  # gain 0.1, biases fixed and free of charge


def six_neurons(activation: str = "relu") -> Program:
    r = np.random.default_rng(0)
    X = r.standard_normal((20, 120))
    W = r.standard_normal((20, 6)) / np.sqrt(20)
    X = np.vstack([X, np.ones((1, 120))])
    W = np.vstack([W, 0.1 * r.standard_normal((1, 6))])
    return layer(X.T, W, activation)


def fixed_biases() -> Program:
    """`six_neurons` at gain 0.1, biases moved out of the program, as a convolution has them.

    Its active set cannot be read off the shifted targets, so only the referee can be asked.
    """
    full = six_neurons().at(0.1)
    bias = full.weights[-1]
    return replace(
        full,
        X=full.X[:, :-1],
        Y=full.Y - bias,
        weights=full.weights[:-1],
        upper=np.zeros_like(full.Y) - bias,
        mask=full.active,
    )


# --- more features than samples, inputs of mixed scale, one input and one output dead -------------

DEAD_INPUT, DEAD_OUTPUT = 7, 3
WIDE_AND_DEAD_OPTIMA = {0.02: 2.407392219, 0.1: 1.938388795, 0.3: 1.095500091, 0.9: 0.082283494}


def wide_and_dead() -> Program:
    r = np.random.default_rng(2)
    scales = np.geomspace(0.1, 10.0, 40)
    X = relu(r.standard_normal((25, 40))) * scales
    X[:, DEAD_INPUT] = 0.0
    W = r.standard_normal((41, 5)) / np.sqrt(41)
    W[:-1] /= scales[:, None]
    W[-1, DEAD_OUTPUT] = -100.0
    return layer(with_ones(X), W)


# --- a second layer behind a retrained first one --------------------------------------------------

SECOND_LAYER_OUTPUT_NORM = 6.52935403
SECOND_LAYER_EPSILON = 0.681743
SECOND_LAYER_WEIGHTS_L1 = 5.59856
SECOND_LAYER_PAPER, SECOND_LAYER_POSITIVE, SECOND_LAYER_ZERO = (
    5.48028,
    5.17189,
    6.3232,
)  # upper = XW, max(XW, 0), 0


def two_layers() -> tuple[Program, Array]:
    """The first layer (`six_neurons` at gain 0.1) and the weights of the second."""
    r = np.random.default_rng(1)
    second = np.vstack([r.standard_normal((6, 4)) / np.sqrt(6), 0.1 * r.standard_normal((1, 4))])
    return six_neurons().at(0.1), second


def second_layer(first_weights: Array, slack: str, gamma: float = 1.1) -> Program:
    """The second layer's cascade program, given the retrained first layer."""
    first, second = two_layers()
    target = relu(with_ones(first.Y) @ second)
    X = with_ones(relu(first.X @ first_weights))
    Z = X @ second
    epsilon = float(np.sqrt(gamma) * np.linalg.norm((Z - target)[target > 0]))
    upper = {"paper": Z, "positive": relu(Z), "zero": None}[slack]
    return Program(X, target, second, upper=upper, epsilon=epsilon)


# --- thirty neurons, a wider layer on which the published settings look too sparse ----------------

THIRTY_NEURONS_OPTIMA = {0.05: 101.73, 0.15: 80.518}
THIRTY_NEURONS_NONZEROS = {0.05: 1239, 0.15: 1068}
THIRTY_NEURONS_UNCONVERGED = {
    "l1": 99.40,
    "bound": 100.80,
    "residual": 1.074,
    "violation": 0.077,
    "nonzeros": 840,
}


def thirty_neurons() -> Program:
    r = np.random.default_rng(5)
    N, M, P = 80, 30, 600
    X = np.vstack([relu(r.standard_normal((N, P))), np.ones((1, P))])
    W = r.standard_normal((N + 1, M)) * (r.random((N + 1, M)) < 0.3) / np.sqrt(0.3 * N)
    W = W + 0.003 * r.standard_normal((N + 1, M))
    W[-1] -= 0.05
    return layer(X.T, W)


# --- recovery -------------------------------------------------------------------------------------

LP_L1 = 3.1332759727


def sparse_neuron(
    rng: np.random.Generator, n_features: int, sparsity: int, n_samples: int
) -> Program:
    """One ReLU neuron with a sparse weight vector, observed without error (epsilon = 0)."""
    X = rng.standard_normal((n_features, n_samples))
    support = rng.choice(n_features, sparsity, replace=False)
    W = np.zeros((n_features, 1))
    W[support, 0] = rng.standard_normal(sparsity)
    return replace(layer(X.T, W), epsilon=0.0)


# --- random programs ------------------------------------------------------------------------------

UPPERS = ("zero", "above", "negative")


def random_program(seed: int, upper: str = "zero", activation: str = "relu") -> Program:
    """A small random layer; its weights satisfy every half-space.

    ``upper``: "zero" is the papers' first layer; "above" is a random bound that is nowhere
    negative; "negative" lies a little above the layer's own output, so zero weights are not
    feasible.
    """
    rng = np.random.default_rng([seed, UPPERS.index(upper), activation == "relu"])
    n_features, n_outputs = int(rng.integers(3, 10)), int(rng.integers(1, 5))
    n_samples = int(rng.integers(6, 32))
    X = with_ones(rng.standard_normal((n_samples, n_features)))
    W = rng.standard_normal((n_features + 1, n_outputs)) / np.sqrt(n_features)
    program = layer(X, W, activation)
    if upper == "zero" or activation == "linear":
        return program
    room = 0.2 * np.abs(rng.standard_normal(program.Y.shape))
    return replace(program, upper=room + (X @ W if upper == "negative" else program.Y))


def random_programs() -> list[Program]:
    """Twenty-four programs of both forms: every kind of ``upper``, and linear layers."""
    kinds = [(upper, "relu") for upper in UPPERS] + [("zero", "linear")]
    gains, penalties = (0.05, 0.3, 0.6), (0.05, 0.5, 2.0)
    programs = []
    for upper, activation in kinds:
        for seed, (gain, penalty) in enumerate(zip(gains, penalties, strict=True)):
            program = random_program(seed, upper, activation)
            programs += [program.at(gain), program.penalised(penalty)]
    return programs


SLACKS = ("none", "above", "any", "paper", "positive")
TARGETS = ("own", "shifted", "foreign")


@dataclass(frozen=True)
class Recipe:
    """A random program and all that may be wrong with its data; few of them are easy.

    ``slack``: no upper bound; a random one that is nowhere negative; one of any sign; the cascade's
    two. ``target``: the layer's own output, that of the layer on other inputs, or of no layer at
    all. ``level``: epsilon over the norm of Y, or the penalty over the least for which zero is a
    lasso's answer. ``gamma`` replaces it by the cascade's epsilon: the error of the weights that
    were drawn.
    """

    seed: int
    n_samples: int
    n_features: int
    n_outputs: int
    rank: int
    activation: str = "relu"
    form: str = "constrained"
    level: float = 0.1
    gamma: float | None = None
    slack: str = "none"
    target: str = "own"
    x_size: float = 1.0
    y_size: float = 1.0
    spread: float = 1.0  # largest over smallest feature
    copies: int = 0  # features that repeat another ...
    blur: float = 0.0  # ... up to so much
    dead_samples: int = 0
    dead_outputs: int = 0
    density: float = 1.0  # of the weights that were drawn

    def program(self) -> Program:
        rng = np.random.default_rng(self.seed)
        X, W = self._inputs(rng), self._weights(rng)
        Z = X @ W
        if self.target == "own":
            signal = Z
        elif self.target == "shifted":
            signal = (X + 0.1 * self.x_size * rng.standard_normal(X.shape)) @ W
        else:
            signal = self.y_size * rng.standard_normal(Z.shape)
        Y = relu(signal) if self.activation == "relu" else signal
        program = Program(X, Y, W, self.activation, self._upper(rng, Z))
        if self.form == "penalised":
            steepest = float(np.abs(X.T @ np.where(program.active, Y, 0)).max())
            return program.penalised(self.level * 2 * (steepest or self.x_size * self.y_size))
        if self.gamma is None:
            return program.at(self.level)
        least = program.at(1e-6).epsilon  # as in the cascade, which asks for no less either
        return replace(program, epsilon=max(np.sqrt(self.gamma) * program.residual(W), least))

    def _inputs(self, rng: np.random.Generator) -> Array:
        factors = (self.n_samples, self.rank), (self.rank, self.n_features)
        X = rng.standard_normal(factors[0]) @ rng.standard_normal(factors[1])
        X *= np.geomspace(1, 1 / self.spread, self.n_features)
        for _ in range(self.copies):
            one, other = rng.integers(self.n_features, size=2)
            X[:, one] = X[:, other] * (1 + self.blur * rng.standard_normal(self.n_samples))
        X[rng.permutation(self.n_samples)[: self.dead_samples]] = 0
        return np.ascontiguousarray(X * self.x_size)

    def _weights(self, rng: np.random.Generator) -> Array:
        shape = self.n_features, self.n_outputs
        W = rng.standard_normal(shape) * (rng.random(shape) <= self.density)
        W[:, rng.permutation(self.n_outputs)[: self.dead_outputs]] = 0
        return W * self.y_size / self.x_size

    def _upper(self, rng: np.random.Generator, Z: Array) -> Array | None:
        if self.activation == "linear" or self.slack == "none":
            return None
        if self.slack in ("paper", "positive"):
            return Z if self.slack == "paper" else relu(Z)
        noise = 0.3 * self.y_size * rng.standard_normal(Z.shape)
        return np.abs(noise) if self.slack == "above" else noise


def describe(program: Program) -> str:
    """A short name for pytest's ids."""
    form = "penalised" if program.epsilon is None else "constrained"
    sign = "zero" if program.upper is None else "negative" if program.upper.min() < 0 else "above"
    return f"{program.activation}-{sign}-{form}-{'x'.join(map(str, program.X.shape))}"
