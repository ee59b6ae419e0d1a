"""Targets and the boldest model that keeps one: what is refused, needed, promised, and broken."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nettrim.promise.fixed_sequence import find_boldest
from nettrim.promise.target import Target
from support.networks import Array

TARGETS = [
    Target.of(flips=0.02),
    Target.of(misses=0.02),
    Target.of(drop=0.05),
    Target.of(error=0.1),
    Target.of(error=0.1, cap=2.0),
    Target.of(error=0.3, quantile=0.98),
]


def named(target: Target) -> str:
    quantile = "" if target.quantile is None else " at a quantile"
    return f"{target.kind}{quantile}{'' if target.cap == 1 else ' with a cap'}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of flips, misses, drop, error; got none"),
        ({"flips": 0.1, "error": 0.1}, "exactly one of .*got flips=0.1 and error=0.1"),
        ({"flips": 0}, "^flips must be greater than 0 and less than 1"),
        ({"flips": 1e-300}, "^flips must be greater than 0 and less than 1, by 1e-09"),
        ({"flips": 0.1, "confidence": 1 - 1e-16}, "^confidence must be .* by 1e-09"),
        ({"error": 1e-300}, "^error must be at least 1e-09 of the cap"),
        ({"misses": 1}, "^misses must be greater than 0 and less than 1"),
        ({"drop": 5}, r"^drop must be at most 1, got 5: did you mean 0\.05"),
        ({"flips": math.nan}, "^flips must be finite"),
        ({"error": 0}, "^error must be finite and greater than 0"),
        ({"error": 1.5}, "^error must be less than the cap"),
        ({"error": 0.1, "cap": 0.05}, "^error must be less than the cap"),
        ({"error": 0.1, "cap": -1}, "^cap must be"),
        ({"error": 0.1, "quantile": 1}, "^quantile must be greater than 0 and less than 1"),
        ({"error": 0.1, "quantile": 99}, r"^quantile .*did you mean 0\.99"),
        ({"error": 0.1, "quantile": 0.9, "cap": 1}, "^cap belongs to a mean error"),
        ({"flips": 0.1, "quantile": 0.9}, "^quantile belongs to an error"),
        ({"drop": 0.1, "cap": 1}, "^cap belongs to an error"),
        ({"flips": 0.1, "confidence": 95}, r"^confidence .*did you mean 0\.95"),
        ({"flips": 0.1, "confidence": 0}, "^confidence must be greater than 0"),
    ],
)
def test_what_makes_no_target_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Target.of(**arguments)


@pytest.mark.parametrize("name", ["flips", "misses", "drop", "error"])
def test_what_is_no_number_is_refused_by_name(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a real number"):
        Target.of(**{name: "little"})


def outputs(n: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    original = rng.standard_normal((n, 5))
    return original, original + 0.2 * rng.standard_normal((n, 5)), rng.integers(0, 5, n)


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_losses_lie_where_they_are_said_to(target: Target) -> None:
    original, trimmed, labels = outputs(300)
    losses = target.losses([original], [trimmed], labels if target.needs_labels else None)
    assert losses.shape == (300,)
    assert np.any(losses > 0)
    if target.counts:
        assert set(losses) == {0, 1}
    assert losses.min() >= (-1 if target.kind == "drop" else 0)
    assert losses.max() <= target.cap
    assert target.losses([original], [original], labels if target.needs_labels else None).max() == 0


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_labels_are_given_where_they_are_used(target: Target) -> None:
    original, trimmed, labels = outputs(20)
    with pytest.raises(ValueError, match=r"^labels are"):
        target.losses([original], [trimmed], None if target.needs_labels else labels)


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_with_the_rows_needed_what_changes_nothing_passes_and_with_fewer_not(
    target: Target,
) -> None:
    n = target.rows_needed()
    assert n is not None
    assert target.p_value(np.zeros(n)) <= target.delta < target.p_value(np.zeros(n - 1))


def test_rows_needed_follow_what_was_seen() -> None:
    target, losses = Target.of(flips=0.01), np.zeros(1000)
    losses[:6] = 1
    n = target.rows_needed(losses)
    assert n is not None
    fewer, more = round(0.8 * n), round(1.2 * n)  # as whole flips come one by one
    assert stats.binom.cdf(round(0.006 * fewer), fewer, 0.01) > 0.05
    assert stats.binom.cdf(round(0.006 * more), more, 0.01) <= 0.05
    losses[:10] = 1
    assert target.rows_needed(losses) is None


def test_rows_beyond_counting_are_bounded_from_below() -> None:
    n = Target.of(error=1e-9).rows_needed()
    assert n == pytest.approx(math.log(20) * 1e9, rel=1e-6)


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_limit_and_p_value_agree(target: Target) -> None:
    """What is below the limit is not rejected, what is above is."""
    original, trimmed, labels = outputs(600)
    losses = target.losses([original], [trimmed], labels if target.needs_labels else None)
    limit = target.limit(losses)
    assert losses.mean() < limit
    assert (target.p_value(losses) <= target.delta) == (limit <= target.risk)


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_a_sentence_says_what_is_promised_and_what_was_seen(target: Target) -> None:
    sentence = target.sentence(np.zeros(1234))
    assert sentence.startswith(f"With 95% confidence, {target.statement}")
    assert "1,234 held-out samples" in sentence


def test_no_model_is_made_behind_the_first_that_fails() -> None:
    made = []

    def path() -> Iterator[tuple[int, Array]]:
        for flips in (0, 1, 2, 50, 0, 0):
            made.append(flips)
            yield flips, (np.arange(1000) < flips).astype(float)

    found = find_boldest(Target.of(flips=0.01), path())
    assert made == [0, 1, 2, 50]
    assert [trial.passed for trial in found.trials] == [True, True, True, False]
    assert found.boldest is not None
    assert found.boldest.candidate == 2


def test_nothing_is_promised_if_the_most_careful_fails() -> None:
    found = find_boldest(Target.of(flips=0.01), [("careful", np.ones(50)), ("bold", np.zeros(50))])
    assert found.boldest is None
    assert len(found.trials) == 1


def test_a_path_may_end_without_a_failure() -> None:
    found = find_boldest(Target.of(flips=0.01), [("only", np.zeros(500))])
    assert found.boldest is not None
    assert found.boldest.candidate == "only"


@pytest.mark.parametrize("delta", [0.05, 0.2])
@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_promises_are_seldom_broken(target: Target, delta: float) -> None:
    """Models whose true risk is known, on both sides of what is promised and close to it."""
    rng, n_draws = np.random.default_rng(5), 400
    target = Target(target.kind, target.level, target.quantile, 1 - delta, target.cap)
    true = target.risk * np.linspace(0.1, 1.4, 14)
    broken = 0
    for _ in range(n_draws):
        path = zip(true, draws_of(target, true, 400, rng), strict=True)
        boldest = find_boldest(target, path).boldest
        broken += boldest is not None and boldest.candidate > target.risk
    assert broken / n_draws <= delta + 3 * math.sqrt(delta * (1 - delta) / n_draws)
    assert broken > 0 or not target.counts  # exact tails leave no such room


def draws_of(target: Target, true: Array, n: int, rng: np.random.Generator) -> Array:
    """Losses of nested models on one draw of samples, a row for each model."""
    uniform = rng.random(n)
    if target.counts:
        return (uniform < true[:, None]).astype(float)
    if target.kind == "drop":
        return (
            (uniform < true[:, None]) * 1.0 + (uniform > 0.95) - (uniform > 0.9) * (uniform <= 0.95)
        )
    return np.minimum(2 * true[:, None] * uniform, target.cap)


def test_levels_are_said_as_they_were_named() -> None:
    """Rounded they would be another promise, or none."""
    sentence = Target.of(flips=0.0123456, confidence=0.99999).sentence(np.zeros(2000))
    assert sentence.startswith("With 99.999% confidence, at most 1.23456% of future samples")
    most = Target.of(error=0.07, quantile=0.9999)
    assert most.statement.startswith("the outputs of at least 99.99% of future samples")


@pytest.mark.parametrize(
    ("target", "failures"),
    [(Target.of(flips=0.1), 13), (Target.of(drop=0.1, confidence=0.9), 9)],
    ids=["flips", "drop"],
)
def test_more_rows_are_needed_than_were_not_enough(target: Target, failures: int) -> None:
    losses = np.zeros(200)
    losses[:failures] = 1
    needed = target.rows_needed(losses)
    assert needed is not None
    assert needed > 200
    assert target.would_pass(losses, needed)
