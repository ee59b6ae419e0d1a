"""Units along several axes of a tensor, and units that stay after all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrim.models.units.couplings import Couplings
from nettrim.models.units.unit_map import FIXED


def finish(couplings: Couplings, grid: np.ndarray) -> np.ndarray:
    """Return the number of each unit in the end, if one layer reads and writes all of them."""
    couplings.layer("layer", grid.ravel(), grid.ravel())
    layers = {layer.layer: layer.features for layer in couplings.finish().layers}
    return layers.get("layer", np.full(grid.size, FIXED)).reshape(grid.shape)


def test_heads_are_units_where_their_features_go_together() -> None:
    couplings = Couplings()
    grid = couplings.make(24, "q").reshape(1, 3, 8)  # three heads of eight features
    couplings.tie(grid[0, :, 0], grid[0, :, 5])
    (at,) = couplings.straighten([grid])
    # Slices along the features are more than heads.
    assert (at.axis, len(at.units)) == (2, 8)
    couplings = Couplings()
    couplings.tie(np.repeat(grid[0, :, 0], 8), grid.ravel())
    couplings.make(24, "q")
    (at,) = couplings.straighten([grid])
    assert at.axis == 1
    np.testing.assert_array_equal(finish(couplings, grid)[0, :, 0], [0, 1, 2])


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 63), st.integers(0, 63)), max_size=4),
    st.lists(st.integers(0, 63), max_size=2),
)
def test_units_go_in_whole_slices_of_one_axis(
    shape: list[int], ties: list[tuple[int, int]], gaps: list[int]
) -> None:
    n_units = int(np.prod(shape))
    couplings = Couplings()
    grid = couplings.make(n_units, "layer").reshape(shape).copy()
    grid.flat[[gap % n_units for gap in gaps]] = FIXED
    for one, other in ties:
        couplings.tie(np.array([one % n_units]), np.array([other % n_units]))
    (at,) = couplings.straighten([grid])
    found = finish(couplings, grid)
    across = tuple(axis for axis in range(len(shape)) if axis != at.axis)
    for unit in range(found.max() + 1):
        goes = found == unit
        np.testing.assert_array_equal(goes.all(across), goes.any(across))
    alone = len(np.unique(found)) == 1
    assert (found == FIXED).all() == alone


def test_units_that_stay_after_all() -> None:
    couplings = Couplings()
    first, second = couplings.make(4, "a"), couplings.make(3, "b")
    couplings.layer("a", np.full(2, FIXED), first)
    couplings.layer("b", first, second)
    couplings.layer("c", second, np.full(1, FIXED))
    couplings.tensor("b", (3, 4), {0: second, 1: first}, uses=2)
    couplings.count("width", first)
    found = couplings.finish()
    fewer = found.without(found.signals[0].units, "told")
    assert fewer.n_units == 3
    assert fewer.left_out == {"a": "told"}
    assert [signal.name for signal in fewer.signals] == ["b"]
    kept = np.array([True, False, False])
    assert (fewer.parameters(kept), fewer.operations(kept)) == (4, 8)
    assert fewer.counts[0].count(kept) == 4
    assert [layer.layer for layer in fewer.layers] == ["b", "c"]
    with pytest.raises(IndexError):
        found.without(np.array([7]), "there are seven")
