"""The projection onto the convex hull of a hyperbola's branch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrim.base.dispatch import core

# (a, b, r) -> (u, v); spec branchhull B.1.
KNOWN = [
    ((0, 0, 1), (1, 1)),
    ((0.5, 0.5, 1), (1, 1)),
    ((2, 0, 1), (2.1069193403762174, 0.47462661756260549)),
    ((-3, 1, 2), (0.84408714795208428, 2.369423589557524)),
    ((1e6, -1e6, 1), (1000000.000001, 9.9999999999900003e-07)),
    ((-1e4, -2e-3, 1e-8), (2.1853765182900729e-07, 0.045758705267980121)),
    ((5, -2, 0.3), (5.0244762709140751, 0.059707715555679726)),
    ((1, 1, 1e-12), (1, 1)),
]


def project(a, b, r):
    u, v = (np.array(x, dtype=float, ndmin=1) for x in (a, b))
    core.project_onto_branch_hulls(np.broadcast_to(r, u.shape).astype(float).copy(), u, v)
    return u, v


@pytest.mark.parametrize(("point", "nearest"), KNOWN)
def test_known_points(point, nearest) -> None:
    u, v = project(*point)
    np.testing.assert_allclose([u[0], v[0]], nearest, rtol=1e-14)


def scattered(rng, count, spread):
    """Points and hulls of sizes over many orders of magnitude."""
    sizes = np.exp(rng.uniform(-spread, spread, (3, count)))
    signs = rng.choice([-1.0, 1.0], (2, count))
    return sizes[0] * signs[0], sizes[1] * signs[1], sizes[2]


@pytest.mark.parametrize("spread", [1.0, 10.0, 27.0])
def test_invariants(spread, rng) -> None:
    a, b, r = scattered(rng, 100_000, spread)
    u, v = project(a, b, r)
    inside = (a >= 0) & (b >= 0) & (a * b >= r)
    assert np.all(u * v >= r * (1 - 4e-16))
    assert np.all(u >= a)
    assert np.all(v >= b)
    np.testing.assert_array_equal(u[inside], a[inside])
    np.testing.assert_array_equal(v[inside], b[inside])
    again = project(u, v, r)
    np.testing.assert_allclose(again, (u, v), rtol=1e-14)


@pytest.mark.parametrize("spread", [1.0, 10.0])
def test_against_bisection(spread, rng) -> None:
    """The larger coordinate is the only positive root of a quartic."""
    a, b, r = scattered(rng, 100_000, spread)
    outside = ~((a > 0) & (b > 0) & (a * b >= r))
    a, b, r = a[outside], b[outside], r[outside]
    root = np.sqrt(r)
    high, low = np.maximum(a, b) / root, np.minimum(a, b) / root

    def value(x):
        return (x - high) + (low - 1 / x) / x**2

    below, above = np.maximum(high, 1.0), 2 * (np.abs(high) + np.abs(low) + 2)
    for _ in range(200):
        middle = (below + above) / 2
        right = value(middle) > 0
        above, below = np.where(right, middle, above), np.where(right, below, middle)
    u, v = project(a, b, r)
    np.testing.assert_allclose(np.maximum(u, v), below * root, rtol=1e-13)


def test_empty_hull_is_the_quadrant(rng) -> None:
    a, b = rng.standard_normal((2, 1000))
    u, v = project(a, b, np.zeros(1000))
    np.testing.assert_array_equal(u, np.maximum(a, 0))
    np.testing.assert_array_equal(v, np.maximum(b, 0))


@given(
    st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.floats(1e-12, 1e12), st.integers(0, 2**32)
)
def test_no_point_of_the_hull_is_nearer(a, b, r, seed) -> None:
    """First-order optimality: the hull lies on one side of the line through the projection."""
    u, v = project(a, b, r)
    other = np.sqrt(r) * np.exp(np.random.default_rng(seed).uniform(-5, 5, 50))
    toward = (u - a) * (other - u) + (v - b) * (r / other - v)
    scale = np.hypot(u - a, v - b) * np.hypot(np.hypot(other, r / other), np.hypot(u, v))
    rounding = np.abs(u * (other - u)) + np.abs(v * (r / other - v))
    assert np.all(toward >= -1e-13 * scale - 1e-15 * rounding)
