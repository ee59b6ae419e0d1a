"""Images as reflectance times illumination, by anchored total variation or one of its rivals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import scipy

from ..base.arguments import check_choice, check_integer, check_number, refuse_unused
from ..base.arrays import Array, as_plain_array, check_finite
from ..base.dispatch import core
from ..base.limits import Limits
from .image_rivals import EarlyStopped, LeastLogVariation, orthonormalise
from .separation import ImageSeparation
from .solution import HullProgress

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["ImageSeparation", "separate_image"]

METHODS = ("hull", "log", "early-stopped")
MAX_ITER = 20_000
MU, SLACK, TOL = 18.0, 100.0, 1e-4  # defaults


def separate_image(
    image: ArrayLike,
    *,
    modes: int | ArrayLike = 10,
    mu: float | None = None,
    slack: float | None = None,
    method: str = "hull",
    tol: float | None = None,
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
    length of the edges, and so do the penalties, that the same do for every size.

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
    method : {"hull", "log", "early-stopped"}, default "hull"
        Two others are here for comparison and know neither `mu` nor `slack`. "log" is the usual
        way: the least total variation of the logarithm of the reflectance, with the logarithm of
        the illumination in the span of the modes. "early-stopped" is what publications show of the
        program without an anchor, which has no minimiser (see the notes): where alternating
        directions happen to be, on their way from zero, after `max_iter` steps. Nothing is proved
        of it, and its status is never "optimal".
    tol : float, default 1e-4
        "optimal" means a gap of at most `tol`; not with "early-stopped".
    max_iter : int, optional
        Default 20,000; to be given with "early-stopped", whose result it determines.
    time_limit : float, optional
        Seconds; default none.
    n_threads : int, optional
        At most; all methods but "hull" take one. Default: every processor this process may use.
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
    The published program (Aghasi, Ahmed, Hand and Joshi, 2018, eq. 3) has no anchor ``mean(w) =
    1``: a constant `w` has no variation, grows without end and makes the rest as small as it likes,
    so that its infimum is 0 and nothing attains it. Signals that are positive and smooth both are
    told apart by these priors alone; compare the two methods.

    References
    ----------
    Aghasi, Ahmed, Hand and Joshi, A convex program for bilinear inversion of sparse vectors
    (NeurIPS 2018), eq. 3; anchor and certificate: docs/mathematics/branch_hull.md#images.

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
    check_choice(method, METHODS, "method")
    pixels = _check_image(image)
    dictionary = _check_modes(modes, *pixels.shape)
    if method != "hull":
        refuse_unused("belongs to method='hull'", mu=mu, slack=slack)
    if method == "early-stopped":
        refuse_unused("belongs to what is proved, 'early-stopped' proves nothing", tol=tol)
        if max_iter is None:
            raise ValueError(
                "max_iter must be given with method='early-stopped': it makes the result"
            )
    tol = TOL if tol is None else check_number(tol, "tol", above=0.0)
    limits = Limits.of(max_iter, time_limit, n_threads, callback, HullProgress, MAX_ITER)
    if method == "log":
        return LeastLogVariation(pixels, dictionary).run(tol, limits)
    if method == "early-stopped":
        return EarlyStopped(pixels, dictionary).run(limits)
    mu = MU if mu is None else check_number(mu, "mu", above=0.0)
    slack = SLACK if slack is None else check_number(slack, "slack", above=0.0)
    if slack < mu:
        raise ValueError(f"slack must be at least mu, got slack={slack:g} and mu={mu:g}")
    side = np.sqrt(pixels.size)
    fields = core.solve_anchored_tv(
        pixels,
        orthonormalise(dictionary),
        mu=mu / side,
        slack=slack / side,
        tol=tol,
        **vars(limits),
    )
    x = fields["x"]
    return ImageSeparation(
        reflectance=fields["w"].reshape(pixels.shape),
        illumination=x.reshape(pixels.shape),
        slack=fields["xi"].reshape(pixels.shape),
        coefficients=_least_squares(dictionary, x),
        objective=fields["objective"],
        dual_bound=fields["dual_bound"],
        gap=fields["gap"],
        status=fields["status"],
        iterations=fields["iterations"],
        seconds=fields["seconds"],
        method=method,
    )


def _check_image(value: ArrayLike) -> Array:
    pixels = np.ascontiguousarray(check_finite(value, "image", ndim=2), dtype=np.float64)
    if (pixels < 0).any() or not pixels.any():
        raise ValueError("image must be nonnegative and not all zero")
    return pixels


def _check_modes(modes: int | ArrayLike, height: int, width: int) -> Array:
    """Return a column of pixels for every mode."""
    if as_plain_array(modes, "modes").ndim == 0:
        return _cosine_modes(check_integer(modes, "modes"), height, width)
    images = np.asarray(check_finite(modes, "modes"), dtype=np.float64)
    if images.ndim != 3 or images.shape[1:] != (height, width):
        raise ValueError(
            f"modes must be a number or have shape (n_modes, {height}, {width}), got {images.shape}"
        )
    if not images.any():
        raise ValueError("modes must not all be zero")
    return np.ascontiguousarray(images.reshape(len(images), -1).T)


def _cosine_modes(count: int, height: int, width: int) -> Array:
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


def _least_squares(dictionary: Array, x: Array) -> Array:
    """Return the nearest combination of columns; at unit size, for SciPy squares what is left."""
    exponent = int(np.frexp(np.abs(x).max())[1])
    unit: Array = scipy.linalg.lstsq(dictionary, np.ldexp(x, -exponent))[0]
    return np.ldexp(unit, exponent)
