r"""What noisy estimates prove: their mean of late, and its standard error.

The mean :math:`m` and variance :math:`v` of estimates :math:`d_t` are kept as in the recursion of
Welford (1962), with a weight :math:`a_t = 1 / \min(t, T)` that after `T` estimates begins to forget
(Finch 2009, section 9):

.. math:: m \leftarrow m + a_t (d_t - m), \qquad v \leftarrow (1 - a_t)\,(v + a_t (d_t - m)^2).

The standard error of the mean is :math:`s = \sqrt{v / (\min(t, T) - 1)}`; with forgetting it is
rather too large, for the weights then are worth :math:`2T - 1` estimates. A mean is said to exceed
a bar if :math:`m - 2s` does.

References
----------
B. P. Welford, Note on a method for calculating corrected sums of squares and products,
Technometrics 4(3), 1962. T. Finch, Incremental calculation of weighted mean and variance,
University of Cambridge, 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Evidence"]

ERRORS = 2.0  # standard errors by which a mean has to exceed a bar


@dataclass(frozen=True)
class Evidence:
    """Estimates of one or several quantities.

    Attributes
    ----------
    mean, variance : torch.Tensor
        float64, of the same shape.
    count : int
        How many estimates they are made of.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    count: int = 0

    @classmethod
    def none(cls, *shape: int, device: torch.device | None = None) -> Evidence:
        """Begin without any."""
        zeros = torch.zeros(shape, dtype=torch.float64, device=device)
        return cls(zeros, zeros)

    def updated(self, estimate: torch.Tensor, memory: int) -> Evidence:
        """Return what is known with one more estimate, forgetting what is older than a memory."""
        count = min(self.count + 1, memory)
        change = estimate - self.mean
        variance = (1 - 1 / count) * (self.variance + change**2 / count)
        return Evidence(self.mean + change / count, variance, count)

    def exceeds(self, bar: torch.Tensor | float) -> torch.Tensor:
        """Whether each mean is larger than a bar, by more than its noise."""
        return (self.mean - self.noise > bar) & (self.count > 0)

    @property
    def noise(self) -> torch.Tensor:
        """By how much a mean has to exceed a bar: two standard errors."""
        return ERRORS * (self.variance / max(1, self.count - 1)).sqrt()

    def narrowed(self, kept: torch.Tensor) -> Evidence:
        """Return what is left where ``kept`` is true."""
        return Evidence(self.mean[kept], self.variance[kept], self.count)
