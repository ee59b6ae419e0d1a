"""What held-out samples say of future ones, beside any result; and samples that are copies."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import nettrim
from nettrim import HeldOutWarning, Network
from nettrim.models.hashes import count_copies
from nettrim.models.model_view import as_view
from nettrim.models.samples import Mask, Samples
from nettrim.results.unseen import Unseen
from nettrim.trimming import assessment
from support.heads import TwoHeads
from support.networks import Array, random_network, trim


@pytest.fixture(scope="module")
def data() -> tuple[Network, Array, Array]:
    rng = np.random.default_rng(0)
    X, held_out = rng.standard_normal((200, 8)), rng.standard_normal((400, 8))
    return random_network(rng, 8, 12, 5), X, held_out


class Imprecise(Network):
    """A network that its framework runs with numbers that are off, or not at all."""

    off: Any = 0.0

    def run(self, model: Network, X: Array) -> list[Array]:
        if isinstance(self.off, Exception):
            raise self.off
        return [model.predict(X) + self.off * (model is not self)]


def test_the_three_sentences_are_those_of_the_two_models(
    data: tuple[Network, Array, Array],
) -> None:
    network, X, held_out = data
    result = trim(network, X, sparsity=0.4, held_out=held_out)
    first, second = (model.predict(held_out) for model in (network, result.model))
    errors = np.linalg.norm(second - first, axis=1) / np.linalg.norm(first, axis=1)
    unseen = result.unseen
    assert unseen is not None
    assert unseen.n_samples == 400
    assert unseen.flips == np.sum(first.argmax(axis=1) != second.argmax(axis=1)) > 0
    limit = stats.beta.ppf(0.95, unseen.flips + 1, 400 - unseen.flips)
    assert unseen.flips_limit == pytest.approx(limit, rel=1e-6)
    assert unseen.quantile_error == pytest.approx(errors.max())  # 299 rows for it, 473 for the next
    assert unseen.mean_error == pytest.approx(np.minimum(errors, 1).mean())
    assert unseen.mean_error < unseen.mean_error_limit < unseen.mean_error + 0.1
    assert all(f"- {sentence}" in str(result) for sentence in unseen.sentences)
    assert result.recipe["unseen"] == unseen.as_plain()
    json.dumps(result.recipe["unseen"])


def test_without_held_out_samples_nothing_is_said(data: tuple[Network, Array, Array]) -> None:
    network, X, _ = data
    result = trim(network, X, sparsity=0.4)
    assert result.unseen is None
    assert result.recipe["unseen"] is None
    assert "future" not in str(result)


def test_it_is_said_of_what_the_framework_computes(data: tuple[Network, Array, Array]) -> None:
    network, X, held_out = data
    model = Imprecise(network.layers)
    model.off = 1e-3
    with pytest.warns(nettrim.RuntimeMismatchWarning):
        unseen = trim(model, X, sparsity=0.0, held_out=held_out).unseen
    assert unseen is not None
    assert unseen.mean_error > 1e-5  # of weights that are as they were


def test_where_the_framework_fails_it_is_said_of_exact_arithmetic(
    data: tuple[Network, Array, Array],
) -> None:
    network, X, held_out = data
    model, options = Imprecise(network.layers), {"sparsity": 0.4, "held_out": held_out}
    model.off = RuntimeError("no such kernel")
    with pytest.warns(nettrim.RuntimeMismatchWarning):
        result = trim(model, X, **options)
    assert result.unseen == trim(network, X, **options).unseen


def test_of_what_is_no_number_nothing_is_said(data: tuple[Network, Array, Array]) -> None:
    network, X, held_out = data
    model = Imprecise(network.layers)
    original, trimmed = network.predict(held_out), network.predict(held_out)
    trimmed[3] = math.nan
    with pytest.warns(
        HeldOutWarning, match=r"^held_out: nothing is said .* trimmed .* on 1 of 400"
    ):
        unseen = unseen_of(model, X, held_out, original, trimmed)
    assert unseen is None


def unseen_of(model: Network, X: Array, held_out: Array, original: Array, trimmed: Array) -> Any:
    """What a run says whose framework has these outputs on held-out samples, and exact ones."""

    def run(own: Network, samples: Array) -> list[Array]:
        if len(samples) == len(X):
            return [own.predict(samples)]
        return [original if own is model else trimmed]

    model.run = run  # type: ignore[method-assign]
    return trim(model, X, sparsity=0.0, held_out=held_out).unseen


def test_with_few_samples_it_is_said_how_many_it_takes(data: tuple[Network, Array, Array]) -> None:
    network, X, held_out = data
    unseen = trim(network, X, sparsity=0.4, held_out=held_out[:298]).unseen
    assert unseen is not None
    assert unseen.quantile_error is None
    assert "that takes 299 held-out ones" in unseen.sentences[1]


def test_a_single_output_does_not_flip(data: tuple[Network, Array, Array]) -> None:
    _, X, held_out = data
    network = random_network(np.random.default_rng(3), 8, 12, 1)
    unseen = trim(network, X, sparsity=0.4, held_out=held_out).unseen
    assert unseen is not None
    assert unseen.flips is unseen.flips_limit is None
    assert "single output" in unseen.sentences[0]


def test_outputs_that_were_zero_and_moved_have_no_limit() -> None:
    original = np.zeros((300, 2))
    unseen = Unseen.of([original], [original + 1e-9])
    assert (unseen.quantile_error, unseen.mean_error, unseen.mean_error_limit) == (math.inf, 1, 1)
    assert unseen.as_plain()["quantile_error"] is None
    assert "zero moved" in unseen.sentences[1]


@pytest.mark.parametrize("outputs", [[0, 1], [1], [0]], ids=str)
def test_outputs_that_count_are_those_it_speaks_of(outputs: list[int]) -> None:
    rng = np.random.default_rng(1)
    X, held_out = rng.standard_normal((300, 12)), rng.standard_normal((300, 12))
    result = trim(TwoHeads.random(), X, sparsity=0.3, held_out=held_out, outputs=outputs)
    pairs = [m.output_values(held_out, {}) for m in map(as_view, (result.original, result.model))]
    errors = [
        np.linalg.norm(b - a, axis=1) / np.linalg.norm(a, axis=1)
        for number, (a, b) in enumerate(zip(*pairs, strict=True))
        if number in outputs
    ]
    assert result.unseen is not None
    together = np.sqrt(np.mean(np.square(errors), axis=0))
    assert result.unseen.quantile_error == pytest.approx(together.max())
    first, second = (values[outputs[0]].argmax(axis=1) for values in pairs)
    assert result.unseen.flips == np.sum(first != second)


def test_an_interrupt_loses_nothing_else(
    data: tuple[Network, Array, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, X, held_out = data

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(assessment, "judge_unseen", interrupted)
    result = trim(network, X, sparsity=0.4, held_out=held_out)
    assert result.interrupted
    assert result.is_measured
    assert result.unseen is None


# --- samples that are in both -------------------------------------------------------------------


def test_copies_are_told(data: tuple[Network, Array, Array]) -> None:
    network, X, held_out = data
    mixed = np.vstack([held_out[:30], X[:3]])
    with pytest.warns(HeldOutWarning, match=r"^held_out: 3 of its 33 samples are in X as well"):
        trim(network, X, sparsity=0.4, held_out=mixed)


def test_copies_are_counted_whatever_holds_the_numbers() -> None:
    X = np.array([[0, 1], [2, 3], [2, 3]])
    assert count_copies(X, X.astype(np.float32)) == 3
    assert count_copies(X, np.array([[-0.0, 1.0], [3.0, 2.0]])) == 1
    assert count_copies(X, np.array([[[0, 1]]])) == 0
    thirds = np.arange(1, 5).reshape(4, 1) / 3
    assert count_copies(thirds, thirds.astype(np.float32)) == 4
    assert count_copies(thirds.astype(np.float32), thirds) == 4
    assert count_copies(thirds, thirds + 1e-12) == 0
    ids = np.array([[2**24], [2**24 + 1]])
    assert count_copies(ids, ids[:1].astype(np.float32)) == 1


def test_samples_of_several_inputs_are_copies_in_all_of_them() -> None:
    a, b = np.arange(6).reshape(3, 2), np.arange(3.0)
    assert count_copies(Samples({"a": a, "b": b}), Samples({"a": a, "b": b + np.eye(3)[1]})) == 2
    assert count_copies(Samples({"a": a, "b": b}), Samples({"b": b, "a": a})) == 3


def test_padding_tells_no_samples_apart() -> None:
    ids, counts = np.array([[5, 6, 0, 0], [7, 8, 9, 0]]), np.array([[1, 1, 0, 0], [1, 1, 1, 0]])
    mask = Mask(counts.astype(bool), frozenset({"ids"}))
    longer = Mask(np.pad(counts, ((0, 0), (0, 2))).astype(bool), frozenset({"ids"}))
    padded = np.pad(ids, ((0, 0), (0, 2)), constant_values=4)
    padded[0, 1] = 9
    assert (
        count_copies(Samples({"ids": ids}, {}, (mask,)), Samples({"ids": padded}, {}, (longer,)))
        == 1
    )
