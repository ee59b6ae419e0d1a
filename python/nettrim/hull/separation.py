"""What is said of an image that was separated, by whichever method."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..base.arrays import Array

__all__ = ["ImageSeparation"]


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
        proof = f"proved >= {self.dual_bound:.9g}, gap {self.gap:.1e}"
        return "\n".join(
            [
                f"image of {height} x {width}, {len(self.coefficients)} modes, method "
                f"{self.method}: {self.status}" + ("" if self.converged else ", NOT CONVERGED"),
                f"  objective  {self.objective:.9g}  ({proof})",
                f"  slack      {np.count_nonzero(self.slack)} pixels",
                f"  {self.iterations} iterations in {self.seconds:.3f} s",
            ]
        )
