"""Units of random ONNX graphs: what goes by the rules of operators can go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from support.onnx_units import assert_units_go
from support.random_graphs import RandomGraph


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32 - 1))
def test_units_of_random_graphs_go(seed: int) -> None:
    graph = RandomGraph(seed)
    assert_units_go(graph.model, graph.samples(3), np.random.default_rng(seed), 1e-6)
