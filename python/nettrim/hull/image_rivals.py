"""The rivals of anchored total variation: in the log domain, and the program as published."""

from __future__ import annotations

import time

import numpy as np
import scipy

from ..base.arrays import Array
from ..base.dispatch import core
from ..base.limits import Limits
from .separation import ImageSeparation

__all__ = ["EarlyStopped", "LeastLogVariation", "orthonormalise"]

DEPENDENT = 1e-10  # of the largest diagonal entry of a QR factor
CERTIFICATE_EVERY = 25
# What published pictures were made with: the penalty of slack, and the soft threshold, 1 / rho.
PUBLISHED_SLACK = 1000.0
PUBLISHED_THRESHOLD = 7e-4


def orthonormalise(dictionary: Array) -> Array:
    """Return a basis of the span, without what depends on the rest."""
    Q, R, _ = scipy.linalg.qr(dictionary, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(R))
    return np.ascontiguousarray(Q[:, : len(sizes)][:, sizes > DEPENDENT * sizes[0]])


class LeastLogVariation:
    """``min |G (log y - D b)|_1`` over b by alternating directions, G being the differences."""

    def __init__(self, pixels: Array, dictionary: Array) -> None:
        self.pixels, self.dictionary = pixels, dictionary
        self.lit = pixels > 0
        self.log = np.log(np.where(self.lit, pixels, 1.0))
        self.target = self._differences(self.log)
        slopes = [self._differences(mode.reshape(pixels.shape)) for mode in dictionary.T]
        self.slopes = np.column_stack(slopes)
        self.basis = orthonormalise(self.slopes) if self.slopes.any() else self.slopes[:, :0]

    def _differences(self, image: Array) -> Array:
        """Of neighbours in rows and columns that are both lit."""
        down, across = np.diff(image, axis=0), np.diff(image, axis=1)
        down = down * (self.lit[1:] & self.lit[:-1])
        across = across * (self.lit[:, 1:] & self.lit[:, :-1])
        return np.concatenate([down.ravel(), across.ravel()])

    def _unexplained(self, differences: Array) -> Array:
        result: Array = differences - self.basis @ (self.basis.T @ differences)
        return result

    def run(self, tol: float, limits: Limits) -> ImageSeparation:
        """Go on until the certificate closes or a limit is met."""
        began, status, iteration = time.perf_counter(), "max_iter", 0
        rest = best = self._unexplained(self.target)
        objective, bound, gap = np.inf, 0.0, 1.0
        size = float(np.abs(rest).sum())
        rho = len(rest) / size if size > 0 else 1.0
        dual = np.zeros_like(rest)
        while status == "max_iter" and iteration < limits.max_iter:
            iteration += 1
            aim = rest - dual
            near = aim - np.clip(aim, -1 / rho, 1 / rho)
            rest = self.target - self.basis @ (self.basis.T @ (self.target - near - dual))
            dual += near - rest
            if iteration % CERTIFICATE_EVERY and iteration < limits.max_iter:
                continue
            if np.abs(rest).sum() < objective:
                objective, best = float(np.abs(rest).sum()), rest
            bound = max(bound, self._bound(rho * dual))
            gap = 1 - bound / objective if objective > 0 else 0.0
            seconds = time.perf_counter() - began
            if gap <= tol:
                status = "optimal"
            elif limits.callback and limits.callback(iteration, objective, bound, gap, seconds):
                status = "interrupted"
            elif seconds > limits.time_limit:
                status = "time_limit"
        return self._result(best, objective, bound, gap, status, iteration, began)

    def _bound(self, multipliers: Array) -> float:
        """Return what multipliers prove once they are orthogonal to the modes and at most 1."""
        g = self._unexplained(multipliers)
        most = float(np.abs(g).max(initial=0.0))
        return float(abs(g @ self.target)) / most if most > 0 else 0.0

    def _result(
        self,
        rest: Array,
        objective: float,
        bound: float,
        gap: float,
        status: str,
        iterations: int,
        began: float,
    ) -> ImageSeparation:
        coefficients = scipy.linalg.lstsq(self.slopes, self.target - rest)[0]
        log_light = (self.dictionary @ coefficients).reshape(self.pixels.shape)
        reflectance = self.pixels / np.exp(log_light)
        level = float(reflectance.mean())
        return ImageSeparation(
            reflectance=reflectance / level,
            illumination=level * np.exp(log_light),
            slack=np.zeros_like(self.pixels),
            coefficients=coefficients,
            objective=objective,
            dual_bound=bound,
            gap=gap,
            status=status,
            iterations=iterations,
            seconds=time.perf_counter() - began,
            method="log",
        )


def _soft_threshold(values: Array, by: float) -> Array:
    result: Array = values - np.clip(values, -by, by)
    return result


class EarlyStopped:
    """Alternating directions on ``min TV(w) + |m|_1 + slack |xi|_1`` over hulls, from zero.

    Signals and their copies are `w` and ``v = D m + zeta / slack``; the program of
    docs/mathematics/branch_hull.md#images without the anchor, with the dictionary as large as the
    identity in the Frobenius norm.
    """

    def __init__(self, pixels: Array, dictionary: Array) -> None:
        self.pixels = pixels
        self.unit = float(pixels.mean())
        self.r = np.ascontiguousarray(pixels.ravel() / self.unit)
        self.size = np.sqrt(pixels.size) / np.linalg.norm(dictionary)
        self.D = dictionary * self.size
        waves = [2 - 2 * np.cos(np.pi * np.arange(n) / n) for n in pixels.shape]
        self.eigenvalues = 1 + waves[0][:, None] + waves[1]
        self.of_zeta = 1 / (1 + PUBLISHED_SLACK**-2)
        gram = self.D.T @ self.D * (1 - self.of_zeta / PUBLISHED_SLACK**2)
        self.factor = scipy.linalg.cho_factor(gram + np.eye(len(gram)))

    def run(self, limits: Limits) -> ImageSeparation:
        """Take as many steps as the caller wants."""
        began, status, iteration = time.perf_counter(), "max_iter", 0
        n, modes = self.D.shape
        w, m, zeta = np.zeros(n), np.zeros(modes), np.zeros(n)
        differences = self._differences(w)
        alpha, beta = np.zeros(n), np.zeros(n)
        of_differences, of_m, of_zeta = np.zeros_like(differences), np.zeros(modes), np.zeros(n)
        while status == "max_iter" and iteration < limits.max_iter:
            iteration += 1
            v = self.D @ m + zeta / PUBLISHED_SLACK
            near_w, near_v = w - alpha, v - beta
            core.project_onto_branch_hulls(self.r, near_w, near_v)
            g = _soft_threshold(differences - of_differences, PUBLISHED_THRESHOLD)
            k, l = (
                _soft_threshold(own - dual, PUBLISHED_THRESHOLD)
                for own, dual in ((m, of_m), (zeta, of_zeta))
            )
            w = self._smooth(alpha + near_w + self._divergence(of_differences + g))
            m, zeta = self._coefficients(beta + near_v, of_m + k, of_zeta + l)
            differences = self._differences(w)
            alpha += near_w - w
            beta += near_v - self.D @ m - zeta / PUBLISHED_SLACK
            of_differences += g - differences
            of_m += k - m
            of_zeta += l - zeta
            objective = float(np.abs(differences).sum() + np.abs(m).sum() + np.abs(zeta).sum())
            seconds = time.perf_counter() - began
            if limits.callback and limits.callback(iteration, objective, 0.0, 1.0, seconds):
                status = "interrupted"
            elif seconds > limits.time_limit:
                status = "time_limit"
        return self._result(w, m, zeta / PUBLISHED_SLACK, objective, status, iteration, began)

    def _differences(self, w: Array) -> Array:
        image = w.reshape(self.pixels.shape)
        return np.concatenate([np.diff(image, axis=0).ravel(), np.diff(image, axis=1).ravel()])

    def _divergence(self, differences: Array) -> Array:
        """Apply the transpose of the differences."""
        height, width = self.pixels.shape
        down, across = np.split(differences, [(height - 1) * width])
        flat = np.zeros((height, width))
        flat -= np.diff(down.reshape(height - 1, width), axis=0, prepend=0, append=0)
        flat -= np.diff(across.reshape(height, width - 1), axis=1, prepend=0, append=0)
        return flat.ravel()

    def _smooth(self, right: Array) -> Array:
        """Solve ``(I + G'G) w = right``: cosines are the eigenvectors."""
        waves = scipy.fft.dctn(right.reshape(self.pixels.shape), norm="ortho") / self.eigenvalues
        return np.ascontiguousarray(scipy.fft.idctn(waves, norm="ortho").ravel())

    def _coefficients(self, signal: Array, of_m: Array, of_zeta: Array) -> tuple[Array, Array]:
        """Solve the least squares of m and zeta, zeta eliminated."""
        own = signal / PUBLISHED_SLACK + of_zeta
        right = self.D.T @ (signal - own * (self.of_zeta / PUBLISHED_SLACK)) + of_m
        m = scipy.linalg.cho_solve(self.factor, right)
        return m, self.of_zeta * (own - self.D @ m / PUBLISHED_SLACK)

    def _result(
        self,
        w: Array,
        m: Array,
        xi: Array,
        objective: float,
        status: str,
        iterations: int,
        began: float,
    ) -> ImageSeparation:
        level = float(w.mean())
        shape, back = self.pixels.shape, level * self.unit
        return ImageSeparation(
            reflectance=(w / level).reshape(shape),
            illumination=(back * (self.D @ m)).reshape(shape),
            slack=(back * xi).reshape(shape),
            coefficients=back * self.size * m,
            objective=objective,
            dual_bound=0.0,
            gap=1.0,
            status=status,
            iterations=iterations,
            seconds=time.perf_counter() - began,
            method="early-stopped",
        )
