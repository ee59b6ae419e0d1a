"""What held-out samples say of those nobody has seen: three sentences, each with its confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..base.arrays import AnyFloat
from ..base.decision import Decision
from ..base.table import format_percent
from ..promise.betting import mean_limit
from ..promise.losses import count_flips, measure_errors, no_flips_because
from ..promise.tails import least_rows, share_limit, tolerance_rank

__all__ = ["Unseen"]

CONFIDENCE, QUANTILE, CAP = 0.95, 0.99, 1.0


@dataclass(frozen=True)
class Unseen:
    """What a given model does to future samples that are like the held-out ones.

    Each of the three statements holds by itself with the confidence, if neither solver nor user
    chose anything by the held-out samples (docs/mathematics/promise.md).

    Attributes
    ----------
    n_samples : int
        Held-out samples.
    confidence : float
    flips : int or None
        On how many of them the answer, which is the largest output unless the model has another
        way, is another one than that of the original network; of sequences, at any position that
        counts. None where outputs are no answers.
    flips_limit : float or None
        More future samples do not flip, as a share.
    no_flips : str or None
        Why nothing is said of flips.
    mean_error, mean_error_limit : float
        How far outputs move on average, relative to those of the same sample, and at most do on
        future samples. Errors are cut at ``cap`` for both.
    cap : float
    quantile : float
    quantile_error : float or None
        At least so many of the future samples move by no more. None with fewer than ``rows_needed``
        samples, infinity where outputs that were zero are not any more.
    rows_needed : int
        How many held-out samples that takes.
    """

    n_samples: int
    confidence: float
    flips: int | None
    flips_limit: float | None
    no_flips: str | None
    mean_error: float
    mean_error_limit: float
    cap: float
    quantile: float
    quantile_error: float | None
    rows_needed: int

    @classmethod
    def of(
        cls,
        original: Sequence[AnyFloat],
        trimmed: Sequence[AnyFloat],
        seed: int = 0,
        decides_by: Decision = "largest",
    ) -> Unseen:
        """Hold the outputs of two models against each other.

        Parameters
        ----------
        original, trimmed : sequence of ndarray of shape (n_samples, ...)
            On held-out samples; of the outputs that count the first one decides.
        seed : int
            Of the order in which samples are taken for the mean.
        decides_by : {"largest", "signs", "nothing"}
            See `nettrim.promise.losses.count_flips`.

        Raises
        ------
        ValueError
            If shapes differ or an entry is no finite number.
        """
        delta = 1 - CONFIDENCE
        errors = measure_errors(original, trimmed)
        n_samples = len(errors)
        no_flips, flips = no_flips_because(original[0], decides_by), None
        if no_flips is None:
            flips = round(count_flips(original[0], trimmed[0], decides_by).sum())
        rank = tolerance_rank(n_samples, QUANTILE, delta)
        cut = np.minimum(errors, CAP)
        return cls(
            n_samples=n_samples,
            confidence=CONFIDENCE,
            flips=flips,
            flips_limit=None if flips is None else share_limit(flips, n_samples, delta),
            no_flips=no_flips,
            mean_error=float(cut.mean()),
            mean_error_limit=CAP * mean_limit(cut / CAP, delta, seed),
            cap=CAP,
            quantile=QUANTILE,
            quantile_error=float(np.sort(errors)[-rank]) if rank else None,
            rows_needed=least_rows(1 - QUANTILE, delta),
        )

    @property
    def title(self) -> str:
        """What the sentences are about."""
        return (
            f"Of future samples, by {self.n_samples:,} held-out ones; each sentence holds by "
            f"itself with {self.confidence:.0%} confidence"
        )

    @property
    def sentences(self) -> list[str]:
        """The three statements."""
        return [self._about_flips(), self._about_most(), self._about_the_mean()]

    def _about_flips(self) -> str:
        if self.flips is None:
            return f"Nothing is said of flips: {self.no_flips}."
        return (
            f"At most {format_percent(self.flips_limit)} give another answer "
            f"({self.flips:,} of {self.n_samples:,} did)."
        )

    def _about_most(self) -> str:
        if self.quantile_error is None:
            return (
                f"Nothing is said of {self.quantile:.0%} of the samples: that takes "
                f"{self.rows_needed:,} held-out ones."
            )
        if math.isinf(self.quantile_error):
            return (
                f"Nothing is said of {self.quantile:.0%} of the samples: outputs that were zero "
                "moved."
            )
        return (
            f"At least {self.quantile:.0%} move their outputs by at most "
            f"{format_percent(self.quantile_error)}."
        )

    def _about_the_mean(self) -> str:
        return (
            f"On average they move them by at most {format_percent(self.mean_error_limit)} "
            f"({format_percent(self.mean_error)} seen, each cut at {self.cap:.0%})."
        )

    def as_plain(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        plain = asdict(self)
        if self.quantile_error is not None and math.isinf(self.quantile_error):
            plain["quantile_error"] = None
        return plain
