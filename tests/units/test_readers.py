"""What the readers of a signal are given: one or several, and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

import nettrim
from nettrim.units.readers import Readers


def problem(rng, n_samples=30):
    X = np.column_stack([rng.standard_normal((n_samples, 6)), np.ones(n_samples)])
    W = rng.standard_normal((7, 4))
    return X, np.maximum(X @ W, 0), W, [0, 0, 1, 2, 1, 2, -1]


def test_one_reader_may_be_given_as_lists(rng):
    X, Y, W, groups = problem(rng)
    given = Readers.of(X.tolist(), Y.tolist(), W.tolist(), groups)
    assert (len(given.each), given.n_units) == (1, 3)
    np.testing.assert_array_equal(given.each[0].data.X, X)


def test_several_readers_know_which_share_their_samples(rng):
    X, Y, W, groups = problem(rng)
    other = rng.standard_normal((20, 3))
    given = Readers.of(
        [X, other, X],
        [Y, other @ W[:3], X @ W],
        [W, W[:3], W],
        [groups, [0, 2, 1], groups],
        activation=["relu", "linear", "linear"],
        importance=[1, 2.5, 3],
    )
    assert [reader.source for reader in given.each] == [0, 1, 0]
    assert [reader.importance for reader in given.each] == [1.0, 2.5, 3.0]
    assert [reader.data.is_linear for reader in given.each] == [False, True, True]


def test_features_of_no_unit_are_always_left(rng):
    reader = Readers.of(*problem(rng)).each[0]
    kept = reader.features_of(np.array([False, True, False]))
    assert kept.tolist() == [False, False, True, False, True, False, True]


def test_errors_count_in_units_of_the_outputs(rng):
    X, Y, W, groups = problem(rng)
    reader = Readers.of(X, Y, W, groups, importance=3).each[0]
    np.testing.assert_allclose(reader.factor * np.sum(Y**2), 3)


def test_weights_may_be_left_out(rng):
    X, Y, _, groups = problem(rng)
    assert not Readers.of(X, Y, None, groups).each[0].data.weights.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": [0, 0, 1, 2, 1, 2]}, "groups must have one entry"),
        ({"groups": [0, 0, 1, 3, 1, 3, -1]}, "groups must number the units"),
        ({"groups": [-1] * 7}, "groups must hold at least one unit"),
        ({"groups": [0, 0, 1, 2, 1, 2, -2]}, "groups must be units from 0"),
        ({"groups": np.zeros(7)}, "groups must hold whole numbers"),
        ({"keep": np.ones(7, bool)}, "keep must have one entry"),
        ({"keep": [1, 0, 1]}, "keep must hold True"),
        ({"importance": 0}, "importance must be"),
        ({"weights": np.ones((3, 4))}, "weights must have shape"),
        ({"Y": None}, "Y is needed"),
    ],
)
def test_errors_name_the_argument(rng, change, message):
    X, Y, W, groups = problem(rng)
    given = {"X": X, "Y": Y, "weights": W, "groups": groups, **change}
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        Readers.of(**given)


def test_errors_name_the_reader(rng):
    X, Y, W, groups = problem(rng)
    with pytest.raises(ValueError, match=r"^groups must have one entry.*\(of reader 1\)"):
        Readers.of([X, X], [Y, Y], [W, W], [groups, groups[:3]])
    with pytest.raises(ValueError, match=r"^Y must be a sequence with one entry for each"):
        Readers.of([X, X], [Y], [W, W], [groups, groups])


def test_sums_take_the_place_of_samples(rng):
    X, _, W, groups = problem(rng)
    given = Readers.of(nettrim.Gram.of(X), None, W, groups)
    np.testing.assert_allclose(given.each[0].data.gram, X.T @ X, atol=1e-12)
