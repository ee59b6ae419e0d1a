"""Images as reflectance times illumination: values against a conic solver, proofs, bad input."""

from __future__ import annotations

import clarabel
import numpy as np
import pytest
from numpy.typing import NDArray

import nettrim
from support.hulls import interior

Array = NDArray[np.float64]


def scene(n: int) -> tuple[Array, Array]:
    """Three levels of reflectance, and an illumination of slow cosines."""
    w = np.ones((n, n))
    w[n // 4 : n // 2, n // 5 : 3 * n // 5] = 2
    w[5 * n // 8 : 7 * n // 8, n // 2 :] = 0.5
    wave = [np.cos(np.pi * k * (np.arange(n) + 0.5) / n) for k in range(3)]
    x = 1 + 0.25 * wave[1][:, None] - 0.2 * wave[1] + 0.1 * np.outer(wave[2], wave[1])
    return w, x


def differences(height: int, width: int) -> Array:
    pixel = np.eye(height * width).reshape(height, width, -1)
    size = height * width
    return np.vstack(
        [np.diff(pixel, axis=0).reshape(-1, size), np.diff(pixel, axis=1).reshape(-1, size)]
    )


def cosines(n: int, pairs: list[tuple[int, int]]) -> Array:
    wave = [np.cos(np.pi * k * (np.arange(n) + 0.5) / n) for k in range(n)]
    return np.array([np.outer(wave[i], wave[j]) for i, j in pairs])


def referee(image: Array, modes: Array, mu: float, slack: float) -> float:
    """Clarabel on w, m, xi >= 0 and bounds of the differences."""
    y = image.ravel() / image.mean()
    L, D, G = len(y), modes.reshape(len(modes), -1).T, differences(*image.shape)
    N, E = D.shape[1], len(G)
    n = L + N + L + E
    zeros, eye = np.zeros, np.eye(L)
    cost = np.concatenate([zeros(L), mu * D.sum(axis=0), np.full(L, slack), np.ones(E)])
    mean = np.concatenate([np.ones(L), zeros(n - L)])[None]
    rest = zeros((E, N + L))
    bounds = np.vstack([np.hstack([G, rest, -np.eye(E)]), np.hstack([-G, rest, -np.eye(E)])])
    positive = -np.hstack([zeros((L, L + N)), eye, zeros((L, E))])
    u = np.hstack([eye, zeros((L, n - L))])
    v = np.hstack([zeros((L, L)), D, eye, zeros((L, E))])
    hulls = np.stack([-(u + v), -(u - v), zeros((L, n))], axis=1).reshape(3 * L, n)
    offsets = np.column_stack([zeros((L, 2)), 2 * np.sqrt(y)]).ravel()
    return interior(
        zeros((n, n)),
        cost,
        np.vstack([mean, bounds, positive, hulls]),
        np.concatenate([[L], zeros(2 * E + L), offsets]),
        [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(2 * E + L)],
        L,
    )


def objective(s: nettrim.ImageSeparation, image: Array, mu: float, slack: float) -> float:
    w, unit = s.reflectance, image.mean() * np.sqrt(image.size)
    variation = np.abs(np.diff(w, axis=0)).sum() + np.abs(np.diff(w, axis=1)).sum()
    return float(variation + (mu * s.illumination.sum() + slack * s.slack.sum()) / unit)


def error(found: Array, truth: Array) -> float:
    found, truth = found / found.mean(), truth / truth.mean()
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize(("mu", "slack"), [(5.0, 100.0), (18.0, 100.0), (40.0, 60.0)])
@pytest.mark.parametrize("n", [8, 12])
def test_against_clarabel(n, mu, slack) -> None:
    w, x = scene(n)
    modes = cosines(n, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)])
    image = 30 * w * x
    s = nettrim.separate_image(image, modes=modes, mu=mu, slack=slack, tol=1e-6)
    exact = referee(image, modes, mu / n, slack / n)
    assert s.status == "optimal"
    assert s.gap <= 1e-6
    assert s.dual_bound * (1 - 1e-9) <= exact <= s.objective * (1 + 1e-9)


def test_the_point_satisfies_its_constraints() -> None:
    w, x = scene(24)
    image = 7 * w * x
    s = nettrim.separate_image(image, modes=6)
    assert s.converged
    assert s.reflectance.min() > 0
    assert s.reflectance.mean() == pytest.approx(1, rel=1e-12)
    assert s.slack.min() >= 0
    assert np.all(s.reflectance * (s.illumination + s.slack) >= image * (1 - 1e-12))
    assert objective(s, image, 18, 100) == pytest.approx(s.objective, rel=1e-9)
    assert "optimal" in str(s)


@pytest.mark.parametrize("n", [16, 48])
def test_reflectance_is_found_at_every_size(n) -> None:
    """With one price; a constant is off by a third, the root of the image by a fifth."""
    w, x = scene(n)
    assert error(nettrim.separate_image(w * x).reflectance, w) < 0.1
    assert error(np.ones_like(w), w) > 0.3
    assert error(np.sqrt(w * x), w) > 0.19


def test_a_larger_illumination_changes_nothing_else() -> None:
    w, x = scene(16)
    one, other = (nettrim.separate_image(size * w * x, tol=1e-6) for size in (1e-6, 1e6))
    np.testing.assert_allclose(one.reflectance, other.reflectance, rtol=1e-9)
    np.testing.assert_allclose(1e12 * one.illumination, other.illumination, rtol=1e-9)


def test_modes_may_depend_on_each_other() -> None:
    w, x = scene(12)
    modes = cosines(12, [(0, 0), (0, 1), (1, 0)])
    alone = nettrim.separate_image(w * x, modes=modes, tol=1e-6)
    again = nettrim.separate_image(w * x, modes=[*modes, modes[0] + modes[1]], tol=1e-6)
    assert again.objective == pytest.approx(alone.objective, rel=2e-6)
    span = np.tensordot(again.coefficients, np.array([*modes, modes[0] + modes[1]]), 1)
    np.testing.assert_allclose(span, again.illumination, rtol=1e-9)


@pytest.mark.parametrize("method", ["hull", "log"])
def test_black_pixels(method) -> None:
    w, x = scene(16)
    image = w * x
    image[3:5, 3:5] = 0
    s = nettrim.separate_image(image, method=method)
    assert s.converged
    assert np.isfinite(s.reflectance).all()
    assert np.all(s.illumination + s.slack >= 0)


@pytest.mark.parametrize("shape", [(1, 20), (20, 1), (1, 1), (5, 31)])
@pytest.mark.parametrize("method", ["hull", "log", "early-stopped"])
def test_any_shape(shape, method, rng) -> None:
    image = rng.uniform(0.5, 2, shape)
    # The early-stopped one always makes all of its iterations.
    options = {"max_iter": 200} if method == "early-stopped" else {"max_iter": 20_000, "tol": 1e-3}
    s = nettrim.separate_image(image, modes=1, method=method, **options)
    assert s.converged or method == "early-stopped"
    assert s.reflectance.shape == shape


def test_logarithms_against_a_linear_program() -> None:
    """Least absolute deviations: the value of the dual program by HiGHS."""
    from scipy.optimize import linprog

    w, x = scene(12)
    s = nettrim.separate_image(w * x, modes=6, method="log", tol=1e-6)
    G = differences(12, 12)
    modes = cosines(12, [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)])
    slopes, target = G @ modes.reshape(6, -1).T, G @ np.log(w * x).ravel()
    exact = -linprog(-target, A_eq=slopes.T, b_eq=np.zeros(6), bounds=(-1, 1)).fun
    assert s.converged
    assert s.dual_bound * (1 - 1e-9) <= exact <= s.objective * (1 + 1e-9)
    np.testing.assert_allclose(s.reflectance * s.illumination, w * x, rtol=1e-12)
    assert error(s.reflectance, w) < 0.1


def test_the_published_program_runs_away() -> None:
    """Its infimum is 0 and nothing attains it: the longer it runs, the flatter its reflectance."""
    w, x = scene(16)
    answers = [
        nettrim.separate_image(w * x, method="early-stopped", max_iter=n) for n in (50, 500, 5000)
    ]
    assert [s.iterations for s in answers] == [50, 500, 5000]
    objectives = [s.objective for s in answers]
    deviations = [s.reflectance.std() for s in answers]
    assert objectives == sorted(objectives, reverse=True)
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[-1] < 1e-2 * w.std()
    for s in answers:
        assert (s.status, s.converged, s.dual_bound) == ("max_iter", False, 0.0)
        assert s.reflectance.mean() == pytest.approx(1.0)


def test_early_stopping_has_to_be_asked_for_with_a_number() -> None:
    with pytest.raises(ValueError, match=r"^max_iter must be given"):
        nettrim.separate_image(np.ones((4, 4)), modes=2, method="early-stopped")


def test_early_stopping_knows_no_unit_of_the_image() -> None:
    w, x = scene(12)
    small, large = (
        nettrim.separate_image(c * w * x, method="early-stopped", max_iter=40) for c in (1e-9, 1e9)
    )
    np.testing.assert_allclose(small.reflectance, large.reflectance, rtol=1e-9)
    np.testing.assert_allclose(1e18 * small.illumination, large.illumination, rtol=1e-9)


def test_an_image_of_modes_alone_has_a_constant_reflectance() -> None:
    """Nearly so by hulls, for illumination has a price; exactly by logarithms."""
    light, flat = scene(16)[1], np.ones((16, 16))
    assert error(nettrim.separate_image(light, tol=1e-6).reflectance, flat) < 0.05
    log = nettrim.separate_image(np.exp(light), method="log")
    assert log.objective < 1e-9
    assert error(log.reflectance, flat) < 1e-9


def test_limits_and_callbacks() -> None:
    w, x = scene(24)
    told: list[nettrim.HullProgress] = []
    stopped = nettrim.separate_image(w * x, tol=1e-12, callback=lambda p: told.append(p) or True)
    assert stopped.status == "interrupted"
    assert len(told) == 1
    assert told[0].iteration == stopped.iterations
    short = nettrim.separate_image(w * x, tol=1e-12, max_iter=7)
    assert (short.status, short.iterations) == ("max_iter", 7)
    assert short.dual_bound <= short.objective
    assert "NOT CONVERGED" in str(short)
    late = nettrim.separate_image(w * x, tol=1e-15, time_limit=1e-9)
    assert late.status == "time_limit"


def test_threads_agree() -> None:
    w, x = scene(40)
    one, two = (nettrim.separate_image(w * x, n_threads=n) for n in (1, 2))
    assert one.objective == pytest.approx(two.objective, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "error_type", "name"),
    [
        ({"image": np.ones(4)}, ValueError, "image"),
        ({"image": -np.ones((4, 4))}, ValueError, "image"),
        ({"image": np.zeros((4, 4))}, ValueError, "image"),
        ({"image": np.full((4, 4), np.nan)}, ValueError, "image"),
        ({"image": [["a", "b"]]}, TypeError, "image"),
        ({"modes": 0}, ValueError, "modes"),
        ({"modes": 17}, ValueError, "modes"),
        ({"modes": np.ones((2, 3, 4))}, ValueError, "modes"),
        ({"modes": np.zeros((2, 4, 4))}, ValueError, "modes"),
        ({"mu": 0.0}, ValueError, "mu"),
        ({"mu": 2.0, "slack": 1.0}, ValueError, "slack"),
        ({"method": "magic"}, ValueError, "method"),
        ({"tol": -1.0}, ValueError, "tol"),
        ({"max_iter": 0}, ValueError, "max_iter"),
        ({"method": "log", "mu": 2.0}, ValueError, "mu"),
        ({"method": "early-stopped", "max_iter": 9, "slack": 20.0}, ValueError, "slack"),
        ({"method": "early-stopped", "max_iter": 9, "tol": 0.1}, ValueError, "tol"),
    ],
)
def test_bad_input_is_refused_by_name(change, error_type, name) -> None:
    with pytest.raises(error_type, match=f"^{name}"):
        nettrim.separate_image(**{"image": np.ones((4, 4)), "modes": 2, **change})


def test_total_variation_without_an_anchor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no minimiser.*separate_image"):
        nettrim.branch_hull(np.ones(4), np.eye(4), np.eye(4), signs=1, regularizer="tv")


def test_the_brightness_does_not_matter(rng) -> None:
    image = rng.uniform(0.5, 1.0, (6, 7))
    plain, bright = (nettrim.separate_image(size * image, modes=3) for size in (1.0, 2.0**800))
    np.testing.assert_allclose(bright.coefficients, 2.0**800 * plain.coefficients, rtol=1e-6)
