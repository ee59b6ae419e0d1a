"""Losses of single samples against plain loops, at the edges of what outputs can be."""

from __future__ import annotations

import numpy as np
import pytest

from nettrim.promise.losses import (
    count_drops,
    count_flips,
    count_misses,
    measure_errors,
    no_flips_because,
)
from support.networks import Array


def outputs(seed: int = 0, shape: tuple[int, ...] = (60, 4)) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    original = rng.standard_normal(shape)
    return original, original + 0.7 * rng.standard_normal(shape)


def test_a_flip_is_another_largest_output() -> None:
    original, trimmed = outputs()
    expected = [float(np.argmax(a) != np.argmax(b)) for a, b in zip(original, trimmed, strict=True)]
    assert 0 < sum(expected) < 60
    np.testing.assert_array_equal(count_flips(original, trimmed), expected)


def test_of_equal_outputs_the_first_is_the_largest() -> None:
    original = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
    trimmed = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(count_flips(original, trimmed), [0, 1, 0])


def test_a_sequence_flips_with_any_of_its_positions() -> None:
    original, trimmed = outputs(shape=(30, 5, 4))
    flipped = [
        any(np.argmax(p) != np.argmax(q) for p, q in zip(a, b, strict=True))
        for a, b in zip(original, trimmed, strict=True)
    ]
    np.testing.assert_array_equal(count_flips(original, trimmed), flipped)


@pytest.mark.parametrize("shape", [(60, 4, 1, 1), (60, 1, 4)])
def test_axes_of_one_entry_are_none(shape: tuple[int, ...]) -> None:
    original, trimmed = outputs()
    flips = count_flips(original.reshape(shape), trimmed.reshape(shape))
    np.testing.assert_array_equal(flips, count_flips(original, trimmed))


@pytest.mark.parametrize(
    ("shape", "reason"), [((9,), "single"), ((9, 1), "single"), ((9, 2, 3, 4), "which axis")]
)
def test_outputs_that_decide_nothing_are_told(shape: tuple[int, ...], reason: str) -> None:
    assert reason in str(no_flips_because(np.zeros(shape)))
    with pytest.raises(ValueError, match=f"flips: .*{reason}"):
        count_flips(np.zeros(shape), np.zeros(shape))


def test_misses_and_drops_count_right_answers() -> None:
    original, trimmed = outputs()
    labels = np.random.default_rng(1).integers(0, 4, 60)
    before, after = (output.argmax(axis=1) == labels for output in (original, trimmed))
    np.testing.assert_array_equal(count_misses(original, trimmed, labels), before & ~after)
    drops = count_drops(original, trimmed, labels)
    assert drops.mean() == pytest.approx(before.mean() - after.mean())
    assert set(drops) == {-1, 0, 1}


@pytest.mark.parametrize("middle", [0.0, 0.5])
def test_a_single_output_is_right_on_its_side_of_the_threshold(middle: float) -> None:
    original = np.array([[0.2], [0.4], [-0.3], [0.1]]) if middle == 0 else np.array([[0.6]] * 4)
    trimmed = np.array([[0.1], [-0.4], [0.3], [-0.1]]) + middle
    misses = count_misses(original, trimmed, [1, 1, 0, 0] if middle == 0 else [1, 1, 1, 0])
    np.testing.assert_array_equal(misses, [0, 1, 1, 0] if middle == 0 else [0, 1, 0, 0])


@pytest.mark.parametrize("labels", [[0, 1, 4], [-1, 0, 1]])
def test_labels_that_are_no_outputs_are_refused(labels: list[int]) -> None:
    original, trimmed = outputs(shape=(3, 4))
    with pytest.raises(ValueError, match=r"^labels must be numbers of outputs, 0 to 3"):
        count_misses(original, trimmed, labels)


def test_labels_of_sequences_are_refused() -> None:
    original, trimmed = outputs(shape=(3, 5, 4))
    with pytest.raises(ValueError, match=r"^labels: an output of shape \(5, 4\)"):
        count_drops(original, trimmed, [0, 1, 2])


def test_an_error_is_relative_to_the_sample() -> None:
    original, trimmed = outputs(shape=(40, 3, 5))
    expected = [
        np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in zip(original, trimmed, strict=True)
    ]
    np.testing.assert_allclose(measure_errors([original], [trimmed]), expected, rtol=1e-13)
    np.testing.assert_allclose(
        measure_errors([original], [trimmed], 0.6), np.minimum(expected, 0.6), rtol=1e-13
    )


def test_of_several_outputs_it_is_the_root_of_the_mean_square() -> None:
    first, second = outputs(1), outputs(2, (60, 7))
    alone = [measure_errors([a], [b]) for a, b in (first, second)]
    together = measure_errors([first[0], second[0]], [first[1], second[1]])
    np.testing.assert_allclose(together, np.sqrt((alone[0] ** 2 + alone[1] ** 2) / 2))


def test_what_is_zero_moves_by_nothing_or_by_everything() -> None:
    original = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    trimmed = np.array([[0.0, 0.0], [0.0, 1e-9], [0.0, 0.0]])
    np.testing.assert_array_equal(measure_errors([original], [trimmed]), [0, np.inf, 1])
    np.testing.assert_array_equal(measure_errors([original], [trimmed], 1.0), [0, 1, 1])


@pytest.mark.parametrize("size", [1e-300, 1e200])
def test_errors_have_no_unit(size: float) -> None:
    original, trimmed = outputs()
    np.testing.assert_allclose(
        measure_errors([original * size], [trimmed * size]), measure_errors([original], [trimmed])
    )


def test_errors_of_many_entries_are_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    original, trimmed = outputs(shape=(50, 9))
    whole = measure_errors([original], [trimmed])
    monkeypatch.setattr("nettrim.promise.losses.BLOCK", 20)
    np.testing.assert_array_equal(measure_errors([original], [trimmed]), whole)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("whose", [0, 1])
def test_outputs_that_are_no_numbers_are_refused_by_name(value: float, whose: int) -> None:
    pair = outputs()
    pair[whose][[3, 7], 1] = value
    message = f"outputs of the {['original', 'trimmed'][whose]} model hold NaN .* on 2 of 60"
    with pytest.raises(ValueError, match=message):
        count_flips(*pair)
    with pytest.raises(ValueError, match=message):
        measure_errors([pair[0]], [pair[1]])


def test_outputs_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="of one shape"):
        count_flips(np.zeros((3, 4)), np.zeros((3, 5)))
