"""Warnings point at the line that called the package, not at one inside."""

from __future__ import annotations

import warnings

import numpy as np

import nettrim


def test_they_point_at_the_caller_through_what_dispatches(rng: np.random.Generator) -> None:
    X = rng.standard_normal((6, 30))  # fewer samples than inputs
    weights = [rng.standard_normal((30, 4)), rng.standard_normal((4, 2))]
    network = nettrim.Network([nettrim.Dense(weights[0], None, "relu"), nettrim.Dense(weights[1])])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nettrim.trim(network, X, epsilon=0.1, held_out=X, progress=False)
    assert {w.category for w in caught} == {nettrim.CalibrationWarning, nettrim.HeldOutWarning}
    assert {w.filename for w in caught} == {__file__}
