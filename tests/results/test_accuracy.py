"""How often a model with a single output is right: what it exceeds for label 1."""

from __future__ import annotations

import numpy as np
import pytest

import nettrim
from support.networks import random_network, trim


def single(*widths: int) -> tuple[nettrim.TrimResult[nettrim.Network], np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 6))
    return trim(random_network(rng, 6, 8, *widths), X, epsilon=0.1), X


@pytest.mark.parametrize("threshold", [-0.3, 0.0, 0.2])
def test_a_single_output_may_be_told_its_threshold(threshold: float) -> None:
    result, X = single(1)
    labels = np.arange(60) % 2
    accuracy = result.accuracy(X, labels, threshold=threshold)
    for model, share in ((result.original, accuracy.before), (result.model, accuracy.after)):
        assert share == np.mean((model.predict(X)[:, 0] > threshold) == labels)


def test_small_logits_need_not_be_taken_for_probabilities() -> None:
    result, X = single(1)
    scores = result.original.predict(X)[:, 0]
    small = X[(scores > 0) & (scores < 0.5)]
    assert len(small)
    labels = np.ones(len(small), int)
    assert result.accuracy(small, labels).before == 0.0
    assert result.accuracy(small, labels, threshold=0.0).before == 1.0


def test_thresholds_are_checked() -> None:
    result, X = single(3)
    labels = np.zeros(60, int)
    with pytest.raises(ValueError, match=r"^threshold is of a single output"):
        result.accuracy(X, labels, threshold=0.5)
    with pytest.raises(TypeError, match=r"^threshold must be a real number"):
        result.accuracy(X, labels, threshold="high")
