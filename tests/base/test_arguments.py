"""What comes in at the door: any honest array is understood, anything else is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import nettrim
from support.problems import SIX_NEURONS_OPTIMA, Array, layer, random_program, six_neurons

X = six_neurons().X
Y = six_neurons().Y
EPSILON = 0.1 * float(np.linalg.norm(Y))


def solve(**changes: Any) -> nettrim.LayerSolution:
    """A good call, with some arguments replaced."""
    good: dict[str, Any] = {"X": X, "Y": Y, "epsilon": EPSILON, "max_iter": 5}
    good.update(changes)
    return nettrim.solve_layer(good.pop("X"), good.pop("Y"), **good)


def with_entry(array: Array, value: float) -> Array:
    copy = array.copy()
    copy[3, 2] = value
    return copy


NAN, INF = float("nan"), float("inf")
WRONG_VALUES: dict[str, list[Any]] = {
    "X": [X[0], X[None], X[:, :0], X[:0], np.zeros((0, 0)), with_entry(X, NAN), with_entry(X, INF)],
    "Y": [Y[0], Y[None], Y[:, :0], Y[:-1], Y.T, with_entry(Y, NAN), with_entry(Y, -INF)],
    "upper": [Y[:-1], Y[:, :-1], Y[None], with_entry(Y, NAN), with_entry(Y, -INF)],
    "epsilon": [-1.0, -1e-300, NAN, INF],
    "activation": ["tanh", "ReLU", ""],
    "solver": ["simplex", ""],
    "tol": [0.0, -1e-6, NAN, INF],
    "max_iter": [0, -3],
    "time_limit": [-1.0, NAN],
    "n_threads": [0, -1],
    "check_every": [0, -1],
    "warm_start": [np.zeros((3, 3)), np.full((21, 6), NAN)],
}
WRONG_TYPES: dict[str, list[Any]] = {
    "X": [X.astype(complex), X.astype(object), np.full(X.shape, "1"), None, "X"],
    "Y": [Y.astype(complex), np.full(Y.shape, "1"), None],
    "upper": [Y.astype(complex), "0"],
    "epsilon": ["0.1", [0.1], 1j],
    "activation": [1, b"relu"],
    "solver": [None, 1],
    "tol": ["small", None],
    "max_iter": [2.5, "10", "ten", NAN, INF],
    "time_limit": ["soon"],
    "n_threads": [1.5, "2"],
    "check_every": [1.5],
    "callback": [1, "print"],
    "warm_start": ["last"],
}


def cases(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}-{i}")
        for name, values in table.items()
        for i, value in enumerate(values)
    ]


@pytest.mark.parametrize(("name", "value"), cases(WRONG_VALUES))
def test_wrong_values_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        solve(**{name: value})


@pytest.mark.parametrize(("name", "value"), cases(WRONG_TYPES))
def test_wrong_types_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
        solve(**{name: value})


@pytest.mark.parametrize("penalty", [0.0, -1.0, NAN, INF])
def test_wrong_penalties(penalty: float) -> None:
    with pytest.raises(ValueError, match="penalty"):
        solve(epsilon=None, penalty=penalty)


def test_exactly_one_of_epsilon_and_penalty() -> None:
    for both in ({"epsilon": None}, {"epsilon": 1.0, "penalty": 1.0}):
        with pytest.raises(ValueError, match=r"epsilon.*penalty"):
            solve(**both)


def test_everything_but_the_data_is_named() -> None:
    with pytest.raises(TypeError):
        nettrim.solve_layer(X, Y, EPSILON)  # type: ignore[misc]


def test_the_message_says_what_came_and_what_is_wanted() -> None:
    with pytest.raises(ValueError, match=r"Y.*119.*120|Y.*120.*119"):
        solve(Y=Y[:-1])
    with pytest.raises(ValueError, match=r"epsilon.*-1"):
        solve(epsilon=-1.0)
    with pytest.raises(ValueError, match=r"activation.*tanh"):
        solve(activation="tanh")


def views(array: Array) -> dict[str, Any]:
    """The same numbers in every clothing NumPy has."""
    padded = np.zeros((2 * array.shape[0], 3 * array.shape[1]))
    padded[::2, ::3] = array
    read_only = array.copy()
    read_only.flags.writeable = False
    return {
        "fortran": np.asfortranarray(array),
        "strided": padded[::2, ::3],
        "reversed": array[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": read_only,
        "big-endian": array.astype(">f8"),
        "list": array.tolist(),
        "unaligned": unaligned(array),
    }


def unaligned(array: Array) -> Array:
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(array.shape)
    raw[:] = array
    return raw


@pytest.mark.parametrize("view", views(X))
def test_every_view_of_the_same_numbers_gives_the_same_bits(view: str) -> None:
    plain = solve(upper=Y + 1)
    other = solve(X=views(X)[view], Y=views(Y)[view], upper=views(Y + 1)[view])
    assert np.array_equal(plain.weights, other.weights)
    assert plain.dual_bound == other.dual_bound


def test_upper_broadcasts_like_numpy() -> None:
    full = solve(upper=np.full(Y.shape, 0.5), max_iter=50)
    row = solve(upper=np.full(Y.shape[1], 0.5), max_iter=50)
    assert np.array_equal(full.weights, row.weights)
    assert np.array_equal(full.weights, solve(upper=0.5, max_iter=50).weights)


def test_upper_is_read_on_inactive_entries_only() -> None:
    plain, wild = (solve(upper=np.where(Y > 0, value, 0.0), max_iter=50) for value in (0.0, -1e30))
    assert np.array_equal(plain.weights, wild.weights)
    assert plain.dual_bound == wild.dual_bound


def test_a_linear_layer_has_no_upper() -> None:
    with pytest.raises(ValueError, match="upper"):
        solve(activation="linear", upper=0.0)


def test_inputs_are_left_alone() -> None:
    before = X.copy(), Y.copy()
    solve(max_iter=50)
    assert np.array_equal(X, before[0])
    assert np.array_equal(Y, before[1])


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_])
def test_integer_input_is_understood(dtype: type) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2, (30, 5)).astype(dtype)
    target = np.maximum(data.astype(float) @ rng.integers(-2, 3, (5, 3)), 0).astype(np.int64)
    integer = nettrim.solve_layer(data, target, epsilon=1)
    real = nettrim.solve_layer(data.astype(float), target.astype(float), epsilon=1.0)
    assert integer.status == "optimal"
    assert integer.weights.dtype == np.float64
    assert np.array_equal(integer.weights, real.weights)


def test_float32_data_are_solved_in_double_unless_asked_otherwise() -> None:
    single = solve(X=X.astype(np.float32), Y=Y.astype(np.float32), max_iter=None, tol=1e-6)
    assert single.weights.dtype == np.float64
    assert single.status == "optimal"
    assert single.objective == pytest.approx(SIX_NEURONS_OPTIMA[0.1], rel=1e-4)


# --- anything finite ----------------------------------------------------------------------------

# Round numbers on purpose: equal rows, zero columns, ties and rank deficiency come up often.
entries = st.integers(-8, 8).map(lambda k: k / 4)


@st.composite
def layers(draw: st.DrawFn) -> tuple[Array, Array]:
    n, f, m = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    return draw(arrays(float, (n, f), elements=entries)), draw(
        arrays(float, (f, m), elements=entries)
    )


def assert_sound(program, solution) -> None:
    """No field lies: a solved program is feasible and closed, an unsolved one says so."""
    numbers = [solution.objective, solution.residual, solution.violation, solution.dual_bound]
    assert np.isfinite(solution.weights).all()
    assert np.isfinite(solution.dual).all()
    assert not np.isnan(numbers).any()
    assert solution.dual_bound >= 0
    if solution.status != "optimal":
        assert not solution.converged
        return
    size = max(np.abs(program.Y).max(), np.abs(program.ceiling).max(), 1e-300)
    assert program.violation(solution.weights) <= 1e-6 * size
    assert solution.objective - solution.dual_bound <= 1.01e-6 * max(solution.objective, 1e-300)
    if program.epsilon is not None:
        allowed = program.epsilon or float(np.linalg.norm(program.Y))
        assert program.residual(solution.weights) <= program.epsilon + 1e-6 * allowed


@settings(max_examples=60)
@given(layers(), st.sampled_from([0.0, 0.1, 0.7, 1.0]), st.sampled_from(["relu", "linear"]))
def test_any_layer_that_exists_is_solved(
    data: tuple[Array, Array], gain: float, activation: str
) -> None:
    program = layer(*data, activation).at(gain)
    solution = program.solve(max_iter=50_000)
    assert solution.status == "optimal"
    assert_sound(program, solution)


@settings(max_examples=30)
@given(layers(), st.sampled_from([0.01, 1.0, 100.0]), st.sampled_from(["relu", "linear"]))
def test_any_penalised_layer_is_solved(
    data: tuple[Array, Array], penalty: float, activation: str
) -> None:
    program = layer(*data, activation).penalised(penalty)
    solution = program.solve(max_iter=50_000)
    assert solution.status == "optimal"
    assert_sound(program, solution)


@settings(max_examples=60)
@given(layers(), st.data(), st.sampled_from([0.0, 0.3, 2.0]))
def test_a_target_that_no_layer_has_gets_an_honest_answer(
    data, draw: st.DataObject, epsilon: float
) -> None:
    """Any outputs and any bounds: solved, proved infeasible, or said to be unsolved."""
    X, W = data
    shape = (len(X), W.shape[1])
    Y = np.abs(draw.draw(arrays(float, shape, elements=entries)))
    upper = draw.draw(arrays(float, shape, elements=entries))
    program = layer(X, W).__class__(X, Y, W, upper=upper, epsilon=epsilon)
    solution = program.solve(max_iter=3000)
    assert solution.status in ("optimal", "infeasible", "max_iter")
    assert_sound(program, solution)


@pytest.mark.parametrize("dtype", ["float16", "int32", "double precision", complex])
def test_only_two_precisions_exist(dtype: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="dtype"):
        solve(dtype=dtype)


def test_random_programs_are_feasible_by_construction() -> None:
    for seed in range(20):
        program = random_program(seed, "negative")
        assert program.violation(program.weights) == 0
        assert program.residual(program.weights) <= 1e-12
