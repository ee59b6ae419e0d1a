"""Images as reflectance times illumination: anchored total variation, and its log-domain rival."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lstsq, qr

from .._arguments import Limits, number, one_of, whole
from .._arrays import Array, finite_array
from .._dispatch import core
from .solution import HullProgress

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["ImageSeparation", "separate_image"]

METHODS = ("hull", "log")
MAX_ITER = 20_000
DEPENDENT = 1e-10  # of the largest diagonal entry of a QR factor
CERTIFICATE_EVERY = 25


@dataclass(frozen=True)
class ImageSeparation:
    """An image as ``reflectance * (illumination + slack)``, with the proof of how good they are.

    Attributes
    ----------
    reflectance : ndarray of shape (height, width)
        Constant in pieces as far as the image lets it be; mean 1.
    illumination : ndarray of shape (height, width)
        Of the span of the modes, or with ``method="log"`` the exponential of such a one.
    slack : ndarray of shape (height, width)
        What the illumination misses; zero with ``method="log"``.
    coefficients : ndarray of shape (n_modes,)
        Of the illumination, or of its logarithm, in the modes.
    objective, dual_bound, gap : float
        The objective of the method, a bound no answer can beat, and their distance relative to the
        objective.
    status : str
        As in `HullSolution`.
    iterations : int
    seconds : float
    method : str
    """

    reflectance: Array = field(repr=False)
    illumination: Array = field(repr=False)
    slack: Array = field(repr=False)
    coefficients: Array = field(repr=False)
    objective: float
    dual_bound: float
    gap: float
    status: str
    iterations: int
    seconds: float
    method: str

    @property
    def converged(self) -> bool:
        """Whether the certificate closed."""
        return self.status == "optimal"

    def __str__(self) -> str:
        """Return a short report; an answer without proof says so in its first line."""
        height, width = self.reflectance.shape
        return "\n".join(
            [
                f"image of {height} x {width}, {len(self.coefficients)} modes, method "
                f"{self.method}: {self.status}" + ("" if self.converged else ", NOT CONVERGED"),
                f"  objective  {self.objective:.9g}  (proved >= {self.dual_bound:.9g}, gap {self.gap:.1e})",
                f"  slack      {np.count_nonzero(self.slack)} pixels",
                f"  {self.iterations} iterations in {self.seconds:.3f} s",
            ]
        )


def separate_image(
    image: ArrayLike,
    *,
    modes: int | ArrayLike = 10,
    mu: float = 18.0,
    slack: float = 100.0,
    method: str = "hull",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
    callback: Callable[[HullProgress], object] | None = None,
) -> ImageSeparation:
    r"""Separate the reflectance of an image, constant in pieces, from its smooth illumination.

    With the image divided by its mean, `y`, and the illumination in a known subspace, it solves

    .. math:: \min\ TV(w) + \frac{mu \sum_l x_l + slack \sum_l \xi_l}{\sqrt{n\_pixels}}
              \quad\text{s.t.}\quad w_l (x_l + \xi_l) \ge y_l,\ \ \mathrm{mean}(w) = 1

    where TV is the sum of absolute differences of neighbours in rows and columns: it grows with the
    length of the edges, and so do the prices, that the same do for every size.

    Parameters
    ----------
    image : array_like of shape (height, width)
        Nonnegative and not all zero. A black pixel only says that nothing there is negative.
    modes : int or array_like of shape (n_modes, height, width), default 10
        Images that span the illumination; a number takes so many products of cosines, the slowest
        first, the constant among them.
    mu : float, default 18
        Price of illumination beside that of an edge of the reflectance. The larger, the nearer the
        product is to the image; the smaller, the fewer edges.
    slack : float, default 100
        Price of what the illumination misses in a pixel; at least `mu`.
    method : {"hull", "log"}, default "hull"
        "log" is the usual way, for comparison: the least total variation of the logarithm of the
        reflectance, with the logarithm of the illumination in the span of the modes. It knows
        neither `mu` nor `slack`.
    tol : float, default 1e-4
        "optimal" means a gap of at most `tol`.
    max_iter : int, optional
        Default 20,000.
    time_limit : float, optional
        Seconds; default none.
    n_threads : int, optional
        Default: every processor this process may use.
    callback : callable, optional
        Called with a `HullProgress` at every certificate; a true return stops the solve.

    Returns
    -------
    ImageSeparation

    Raises
    ------
    ValueError
        If an argument has the wrong shape, holds NaN or infinity or is out of range.
    TypeError
        If an argument is not made of real numbers.

    Notes
    -----
    The published program (Aghasi, Ahmed, Hand and Joshi, 2018, eq. 3) has no anchor ``mean(w) = 1``:
    a constant `w` has no variation, grows without end and makes the rest as small as it likes, so
    that its infimum is 0 and nothing attains it. Signals that are positive and smooth both are told
    apart by these priors alone; compare the two methods.

    References
    ----------
    Spec branchhull A.6 (T1 with the mean of `x`), B.5 and C.2.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> scene = np.ones((32, 32))
    >>> scene[8:16, 6:20] = 2
    >>> light = 1 + 0.3 * np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    >>> s = nettrim.separate_image(scene * light, modes=6)
    >>> s.status, bool(np.corrcoef(s.reflectance.ravel(), scene.ravel())[0, 1] > 0.99)
    ('optimal', True)
    """
    one_of(method, METHODS, "method")
    pixels = _image(image)
    dictionary = _modes(modes, *pixels.shape)
    tol = number(tol, "tol", above=0.0)
    mu = number(mu, "mu", above=0.0)
    slack = number(slack, "slack", least=mu)
    limits = Limits.of(max_iter, time_limit, n_threads, callback, HullProgress, MAX_ITER)
    if method == "log":
        return _LeastVariation(pixels, dictionary).run(tol, limits)
    side = np.sqrt(pixels.size)
    fields = core.solve_anchored_tv(
        pixels, _orthonormal(dictionary), mu=mu / side, slack=slack / side, tol=tol, **vars(limits)
    )
    x = fields["x"]
    return ImageSeparation(
        reflectance=fields["w"].reshape(pixels.shape),
        illumination=x.reshape(pixels.shape),
        slack=fields["xi"].reshape(pixels.shape),
        coefficients=lstsq(dictionary, x)[0],
        objective=fields["objective"],
        dual_bound=fields["dual_bound"],
        gap=fields["gap"],
        status=fields["status"],
        iterations=fields["iterations"],
        seconds=fields["seconds"],
        method=method,
    )


def _image(value: ArrayLike) -> Array:
    pixels = np.ascontiguousarray(finite_array(value, "image", ndim=2), dtype=np.float64)
    if (pixels < 0).any() or not pixels.any():
        raise ValueError("image must be nonnegative and not all zero")
    return pixels


def _modes(modes: int | ArrayLike, height: int, width: int) -> Array:
    """Return a column of pixels for every mode."""
    if np.ndim(modes) == 0:
        return _cosines(whole(modes, "modes"), height, width)
    images = np.asarray(finite_array(modes, "modes"), dtype=np.float64)
    if images.ndim != 3 or images.shape[1:] != (height, width):
        raise ValueError(
            f"modes must be a number or have shape (n_modes, {height}, {width}), got {images.shape}"
        )
    if not images.any():
        raise ValueError("modes must not all be zero")
    return np.ascontiguousarray(images.reshape(len(images), -1).T)


def _cosines(count: int, height: int, width: int) -> Array:
    """Products of cosines at unit norm, by the sum of their frequencies."""
    if count > height * width:
        raise ValueError(f"modes must be at most the number of pixels, got {count}")

    def waves(frequency: int, n: int) -> Array:
        wave: Array = np.cos(np.pi * frequency * (np.arange(n) + 0.5) / n)
        return wave / np.linalg.norm(wave)

    pairs = sorted(
        ((i, j) for i in range(min(count, height)) for j in range(min(count, width))),
        key=lambda pair: (sum(pair), pair),
    )[:count]
    return np.column_stack([np.outer(waves(i, height), waves(j, width)).ravel() for i, j in pairs])


def _orthonormal(dictionary: Array) -> Array:
    """Return a basis of the span, without what depends on the rest."""
    Q, R, _ = qr(dictionary, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(R))
    return np.ascontiguousarray(Q[:, : len(sizes)][:, sizes > DEPENDENT * sizes[0]])


class _LeastVariation:
    """``min |G (log y - D b)|_1`` over b by alternating directions, G being the differences."""

    def __init__(self, pixels: Array, dictionary: Array) -> None:
        self.pixels, self.dictionary = pixels, dictionary
        self.lit = pixels > 0
        self.log = np.log(np.where(self.lit, pixels, 1.0))
        self.target = self._differences(self.log)
        slopes = [self._differences(mode.reshape(pixels.shape)) for mode in dictionary.T]
        self.slopes = np.column_stack(slopes)
        self.basis = _orthonormal(self.slopes) if self.slopes.any() else self.slopes[:, :0]

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
        coefficients = lstsq(self.slopes, self.target - rest)[0]
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
