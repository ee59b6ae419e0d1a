"""Arrays and numbers that NumPy or a processor would change without a word: read right, or refused.

Every entry point, every argument, whatever the clothes the numbers come in.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import nettrim
from nettrim.models.network import BatchNorm, Conv2D, Dense, MaxPool

RNG = np.random.default_rng(0)
X, W = RNG.standard_normal((40, 6)), RNG.standard_normal((6, 3))
Y = np.maximum(X @ W, 0)
B, C = RNG.standard_normal((30, 4)), RNG.standard_normal((30, 4))
H, M = RNG.standard_normal((2, 4))
IMAGE = np.ones((6, 6))
IMAGE[2:4, 1:3] = 2
KEEP = np.zeros(6, bool)
UNITS = (0, 0, 1, 1, 2, -1)


def network_of(weights, X, bias=None):
    return nettrim.Network([Dense(weights, bias)]).predict(X)


ENTRIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "solve_layer": (nettrim.solve_layer, {"X": X, "Y": Y, "epsilon": 1.0, "upper": Y + 1}),
    "solve_layer active": (nettrim.solve_layer, {"X": X, "Y": Y, "epsilon": 1.0, "active": Y > 0}),
    "warm start": (nettrim.solve_layer, {"X": X, "Y": Y, "epsilon": 1.0, "warm_start": W}),
    "costs": (nettrim.solve_layer, {"X": X, "Y": Y, "epsilon": 1.0, "costs": np.ones(W.shape)}),
    "trace": (nettrim.trace, {"X": X, "Y": Y, "epsilons": [0.5, 1.0]}),
    "units": (
        nettrim.solve_units,
        {"X": X, "Y": Y, "groups": UNITS, "epsilon": 1.0, "upper": Y + 1, "prices": np.ones(3)},
    ),
    "trace_units": (
        nettrim.trace_units,
        {"X": X, "Y": Y, "groups": UNITS, "epsilons": [0.5, 1.0], "active": Y > 0},
    ),
    "budget": (
        nettrim.solve_layer_budget,
        {"X": X, "Y": Y, "weights": W, "sparsity": 0.5, "keep": KEEP},
    ),
    "trace_budget": (nettrim.trace_budget, {"X": X, "Y": Y, "weights": W, "upper": Y + 1}),
    "branch_hull": (
        nettrim.branch_hull,
        {"y": (B @ H) * (C @ M), "B": B, "C": C, "signs": B @ H, "slack": np.ones(30)},
    ),
    "check_signs": (
        nettrim.check_signs,
        {"y": (B @ H) * (C @ M), "B": B, "C": C, "signs": B @ H},
    ),
    "is_recoverable": (nettrim.is_recoverable, {"h": H, "m": M, "B": B, "C": C}),
    "separate_image": (nettrim.separate_image, {"image": IMAGE, "modes": np.ones((1, 6, 6))}),
    "dense": (network_of, {"weights": W, "X": X, "bias": np.ones(3)}),
    "conv": (Conv2D, {"weights": np.ones((1, 1, 2, 2)), "bias": np.ones(1)}),
    "batch norm": (BatchNorm, {"mean": np.ones(3), "variance": np.ones(3), "scale": np.ones(3)}),
}


def arrays() -> list[Any]:
    return [
        pytest.param(entry, name, id=f"{entry}-{name}")
        for entry, (_, good) in ENTRIES.items()
        for name, value in good.items()
        if isinstance(value, (np.ndarray, list))
    ]


def call(entry: str, **changes: Any) -> Any:
    function, good = ENTRIES[entry]
    arguments = {**good, **changes}
    return function(**arguments)


def refused(entry: str, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b"):
        call(entry, **{name: value})


def with_first(array: Any, value: Any, dtype: Any) -> Any:
    copy = np.array(array, dtype)
    copy.flat[0] = value
    return copy


def masked(array: Any) -> Any:
    result = np.ma.array(np.array(array), mask=np.zeros(np.shape(array), bool))
    result.mask.flat[0] = True
    return result


@pytest.mark.parametrize(("entry", "name"), arrays())
def test_masked_entries_have_no_value(entry: str, name: str) -> None:
    array = np.array(ENTRIES[entry][1][name])
    refused(entry, name, masked(array))
    refused(entry, name, list(masked(array)))
    call(entry, **{name: np.ma.array(array)})  # nothing is masked


@pytest.mark.parametrize(("entry", "name"), arrays())
def test_what_is_no_dense_array_of_numbers_is_refused(entry: str, name: str) -> None:
    array = np.array(ENTRIES[entry][1][name])
    takes_sparse = name in ("B", "C")
    if not takes_sparse:
        flat = np.atleast_2d(array.reshape(len(array), -1) if array.ndim else array)
        refused(entry, name, sparse.csr_array(flat.astype(float)))
    for value in (object(), {}, array.astype(object), array.astype(complex), [[1.0], [1.0, 2.0]]):
        refused(entry, name, value)


@pytest.mark.skipif(
    np.finfo(np.longdouble).max == np.finfo(float).max, reason="no type beyond float64"
)
@pytest.mark.parametrize(("entry", "name"), arrays())
def test_numbers_beyond_float64_are_refused(entry: str, name: str) -> None:
    array = np.array(ENTRIES[entry][1][name])
    if array.dtype == bool:
        return
    refused(entry, name, with_first(array, np.longdouble("1e4000"), np.longdouble))
    refused(entry, name, with_first(array, 10**400, object).tolist())
    call(entry, **{name: array.astype(np.longdouble)})


def test_whole_numbers_beyond_int64_do_not_wrap() -> None:
    tokens = np.array([[1, 2], [3, 2**63]], np.uint64)
    network = nettrim.Network([Dense(np.ones((2, 1)))])
    assert network.predict(tokens)[1, 0] == 2.0**63 + 3
    from nettrim.base.arrays import check_samples

    with pytest.raises(ValueError, match=r"tokens.*9223372036854775808"):
        check_samples(tokens, "tokens")
    np.testing.assert_array_equal(check_samples(tokens[:1], "tokens"), [[1, 2]])


HUGE = [10**400, 10**5000, 2**2000, Fraction(10**400, 3)]
NUMBERS = {
    "solve_layer": ("epsilon", "tol", "time_limit"),
    "trace": ("tol", "time_limit"),
    "budget": ("sparsity", "pull", "ridge"),
    "branch_hull": ("tol", "time_limit", "slack"),
    "separate_image": ("mu", "slack", "tol", "time_limit"),
}
WHOLE = {
    "solve_layer": ("max_iter", "n_threads", "check_every", "groups", "reweighted"),
    "trace": ("max_iter", "n_threads"),
    "budget": ("swaps", "n_threads"),
    "trace_budget": ("n_threads",),
    "branch_hull": ("max_iter", "n_threads"),
    "separate_image": ("max_iter", "n_threads", "modes"),
}


def names(table: dict[str, tuple[str, ...]]) -> list[Any]:
    return [pytest.param(e, n, id=f"{e}-{n}") for e, every in table.items() for n in every]


@pytest.mark.parametrize(("entry", "name"), names(NUMBERS))
def test_numbers_no_float_can_hold_are_refused(entry: str, name: str) -> None:
    for value in [*HUGE, -(10**400)]:
        refused(entry, name, value)


@pytest.mark.parametrize(("entry", "name"), names(WHOLE))
def test_whole_numbers_the_core_cannot_count_to_are_refused(entry: str, name: str) -> None:
    for value in (2**63, 10**400, 10**5000, -(2**63) - 1):
        refused(entry, name, value)
    if name == "n_threads":
        refused(entry, name, 2**31)
        refused(entry, name, 2**31 - 1)


@pytest.mark.parametrize(
    "pattern", ["1:1" + "0" * 21, "1:1" + "0" * 5000, "2:\u0664", "0:4", ":4", 2.4]
)
def test_patterns_of_no_layer(pattern: Any) -> None:
    refused("budget", "pattern", pattern)


@pytest.mark.parametrize("pair", [(), (X,), (X, Y, Y), 3, "XY", (masked(X), Y), {"X": X}])
def test_held_out_data_are_a_pair(pair: Any) -> None:
    refused("budget", "held_out", pair)


@pytest.mark.parametrize("name", ["activation", "method"])
@pytest.mark.parametrize("value", [np.array(["relu", "linear"]), ["relu"], (), 1, b"relu"])
def test_words_are_words(name: str, value: Any) -> None:
    refused("budget", name, value)


@given(st.sampled_from(["L", "K", "N"]), st.integers(1, 2**63 - 1))
def test_odds_of_any_sizes_are_odds(name: str, value: int) -> None:
    assert 0 <= nettrim.recovery_odds(**{"L": 9, "K": 2, "N": 3, name: value}) <= 1


@pytest.mark.parametrize("size", [2**31, 10**400, -1])
def test_windows_have_sizes(size: int) -> None:
    for name in ("size", "stride", "padding"):
        with pytest.raises(ValueError, match=name):
            MaxPool(**{"size": 2, name: size})


# Sizes near the limits of a double: the same answer in other units, or a refusal of what is huge.
SIZES = [1e-300, 1e-160, 1e160, 1e300]


@pytest.mark.parametrize("size", SIZES)
def test_blocks_and_penalties_refuse_what_has_no_squares(size: float) -> None:
    with pytest.raises(ValueError, match=r"\bY\b.*(large|small)"):
        nettrim.solve_layer(X, Y * size, penalty=1.0)
    with pytest.raises(ValueError, match=r"\b[XY]\b.*(large|small)"):
        nettrim.solve_layer(X, Y * size, epsilon=size, block_outputs=1)
    with pytest.raises(ValueError, match=r"\bX\b.*(large|small)"):
        nettrim.Network([Dense(W)]).predict(X * size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_dictionaries_of_any_size_have_the_same_signals(size: float, regularizer: str) -> None:
    options = {"signs": B @ H, "regularizer": regularizer}
    y = (B @ H) * (C @ M)
    one = nettrim.branch_hull(y, B, C, **options)
    for first, second in ((size, 1.0), (1.0, size), (size, 1 / size), (size**0.5, size**0.5)):
        other = nettrim.branch_hull(y, B * first, C * second, **options)
        assert other.status == "optimal"
        np.testing.assert_allclose(other.w * other.x, one.w * one.x, rtol=1e-4, atol=1e-9)
    assert nettrim.check_signs(y, B * size, C, B @ H).feasible
    recoverable = nettrim.is_recoverable(H, M, B, C, regularizer=regularizer)
    for scaled in ((H * size, M, B, C), (H, M, B * size, C), (H, M * size, B, C / size)):
        assert nettrim.is_recoverable(*scaled, regularizer=regularizer) == recoverable


def test_sparse_dictionaries_of_every_kind() -> None:
    y = (B @ H) * (C @ M)
    one = nettrim.branch_hull(y, B, C, signs=B @ H)
    for kind in (sparse.lil_array, sparse.dok_array, sparse.coo_matrix, sparse.csr_matrix):
        other = nettrim.branch_hull(y, kind(B), C, signs=B @ H)
        assert other.objective == pytest.approx(one.objective, rel=1e-5)
    nothing = sparse.csr_array(C.shape)
    assert not nettrim.check_signs(y, B, nothing, B @ H).feasible
    for wrong in (sparse.csr_array(B).astype(complex), sparse.coo_array(np.ones(30))):
        refused("branch_hull", "B", wrong)


def test_a_slack_below_mu_names_both() -> None:
    with pytest.raises(ValueError, match=r"^slack must be at least mu, .*mu=200"):
        nettrim.separate_image(np.ones((4, 4)), mu=200.0)


@pytest.mark.parametrize("tol", [1.0, 10.0, 1e308])
@pytest.mark.parametrize("solver", ["auto", "newton", "admm"])
def test_no_optimum_without_a_point(tol: float, solver: str) -> None:
    """A tolerance above one asks for no proof, but an answer it must be."""
    rng = np.random.default_rng(0)
    B, C = rng.standard_normal((26, 5)), rng.standard_normal((26, 1))
    y = (B @ np.ones(5)) * C[:, 0]
    s = nettrim.branch_hull(y, B, C, signs=B @ np.ones(5), tol=tol, solver=solver)
    assert s.status != "optimal" or np.isfinite(s.objective)


@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_nothing_is_recovered_from_nothing(regularizer: str) -> None:
    h, B, C = np.ones(3), np.zeros((5, 3)), np.ones((5, 3))
    assert not nettrim.is_recoverable(h, h, B, C, regularizer=regularizer)
    assert not nettrim.is_recoverable(h, h, C, B, regularizer=regularizer)


@pytest.mark.parametrize("name", ["ridge", "pull"])
@pytest.mark.parametrize("method", ["surgery", "admm", "reweighted"])
def test_regularisation_beyond_squares_is_refused(name: str, method: str) -> None:
    X, weights = np.eye(6), np.arange(12.0).reshape(6, 2)
    options: dict[str, Any] = {name: 1e300, "method": method, "sparsity": 0.5}
    with pytest.raises(ValueError, match=rf"^{name} must be"):
        nettrim.solve_layer_budget(X, X @ weights, weights=weights, **options)


def test_a_tolerance_of_one_does_not_make_an_answer() -> None:
    """A gap of 1 is what no answer at all has."""
    rng = np.random.default_rng(0)
    B, C = rng.standard_normal((28, 5)), rng.standard_normal((28, 3))
    h, m = rng.standard_normal(5), rng.standard_normal(3)
    for tol in (1.0, 3.0):
        s = nettrim.branch_hull((B @ h) * (C @ m), B, C, signs=B @ h, solver="lp", tol=tol)
        assert s.status != "optimal" or np.isfinite(s.objective)


def test_labels_that_are_no_rectangle_are_refused_by_name() -> None:
    network = nettrim.Network([nettrim.Dense(np.eye(3), activation="linear")])
    result = nettrim.trim(
        network, np.random.default_rng(0).random((20, 3)), epsilon=0.1, progress=False
    )
    with pytest.raises(ValueError, match=r"^labels is no rectangular array"):
        result.accuracy(np.ones((2, 3)), [0, [1, 2]])
