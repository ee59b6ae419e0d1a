"""What is to be promised of future samples, and what held-out samples say of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..base.arguments import check_number, check_share, refuse_unused, show
from ..base.arrays import AnyFloat, Array
from ..base.decision import Decision
from .betting import betting_p_value, mean_limit
from .losses import count_drops, count_flips, count_misses, measure_errors
from .tails import binomial_tail, least_rows, share_limit

__all__ = ["KINDS", "Target"]

KINDS = ("flips", "misses", "drop", "error")
CAP = 1.0  # of an error whose mean is promised
MOST_ROWS = 1_000_000  # of which it is found out whether they are enough
SMALLEST = 1e-9  # share that can be told from nothing: it takes three thousand million rows


@dataclass(frozen=True)
class Target:
    r"""A limit on what future samples lose on average, or on most of them; see `Target.of`.

    Attributes
    ----------
    kind : {"flips", "misses", "drop", "error"}
    level : float
        What is promised: a share of samples, a drop of the accuracy, an error.
    quantile : float or None
        Of an error: on which share of samples it is promised; None for the mean.
    confidence : float
        Of the promise: 1 - delta.
    cap : float
        At which errors are cut whose mean is promised.
    """

    kind: str
    level: float
    quantile: float | None = None
    confidence: float = 0.95
    cap: float = CAP

    @classmethod
    def of(
        cls,
        *,
        flips: float | None = None,
        misses: float | None = None,
        drop: float | None = None,
        error: float | None = None,
        quantile: float | None = None,
        confidence: float = 0.95,
        cap: float | None = None,
    ) -> Target:
        """Check what is to be promised; exactly one of the first four.

        Parameters
        ----------
        flips : float, optional
            Share of samples whose largest output is another one than in the original network.
        misses : float, optional
            Share of samples that the original has right and the trimmed network wrong.
        drop : float, optional
            By how much the accuracy drops: misses less those that the trimmed network alone has
            right.
        error : float, optional
            Distance of a sample's outputs from the original ones, relative to their norm: its mean,
            or with ``quantile`` that of so many of the samples.
        quantile : float, optional
            Share of samples on which the error is promised.
        confidence : float, default 0.95
        cap : float, default 1
            Larger errors count as this one in their mean.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be; the message names it.

        Examples
        --------
        >>> from nettrim.promise.target import Target
        >>> target = Target.of(flips=0.01)
        >>> target.rows_needed()
        299
        """
        levels = {"flips": flips, "misses": misses, "drop": drop, "error": error}
        given = [kind for kind in KINDS if levels[kind] is not None]
        if len(given) != 1:
            got = " and ".join(f"{kind}={show(levels[kind])}" for kind in given) or "none"
            raise ValueError(f"a promise is of exactly one of {', '.join(KINDS)}; got {got}")
        kind, confidence = given[0], _check_part(confidence, "confidence")
        if kind != "error":
            refuse_unused("belongs to an error", quantile=quantile, cap=cap)
            return cls(kind, _check_part(levels[kind], kind), confidence=confidence)
        level = check_number(error, "error", above=0.0)
        if quantile is not None:
            refuse_unused("belongs to a mean error, which this with its quantile is not", cap=cap)
            return cls(kind, level, _check_part(quantile, "quantile"), confidence)
        cap = CAP if cap is None else check_number(cap, "cap", above=0.0)
        if level < SMALLEST * cap:
            raise ValueError(
                f"error must be at least {SMALLEST:g} of the cap of errors, {cap:g}; got "
                f"{show(error)}"
            )
        if level >= cap:
            raise ValueError(
                f"error must be less than the cap of errors, {cap:g}, as their mean always is; got "
                f"{show(error)}"
            )
        return cls(kind, level, None, confidence, cap)

    @property
    def delta(self) -> float:
        """The chance that the promise is broken is at most this."""
        return 1.0 - self.confidence

    @property
    def risk(self) -> float:
        """What the mean of the losses must not exceed."""
        return self.level if self.quantile is None else 1.0 - self.quantile

    @property
    def needs_labels(self) -> bool:
        """Whether losses depend on which answers are right."""
        return self.kind in ("misses", "drop")

    @property
    def counts(self) -> bool:
        """Whether each loss is 0 or 1, so that nothing but their number matters."""
        return self.kind in ("flips", "misses") or self.quantile is not None

    def losses(
        self,
        original: Sequence[AnyFloat],
        trimmed: Sequence[AnyFloat],
        labels: ArrayLike | None = None,
        decides_by: Decision = "largest",
        threshold: float | None = None,
    ) -> Array:
        """Return what each sample loses.

        Parameters
        ----------
        original, trimmed : sequence of ndarray of shape (n_samples, ...)
            Outputs of the two models that count, as ``ModelView.run`` returns them. The first one
            decides.
        labels : array_like of shape (n_samples,), optional
            Numbers of the outputs that ought to be largest, for ``misses`` and ``drop``.
        decides_by : {"largest", "signs", "nothing"}
            See `count_flips`.
        threshold : float, optional
            See `count_misses`.

        Returns
        -------
        ndarray of shape (n_samples,)
            0 or 1 for flips, misses and an error at a quantile; from -1 to 1 for a drop, from 0 to
            the cap for a mean error.

        Raises
        ------
        TypeError, ValueError
            If outputs or labels are not what they must be.
        """
        if self.needs_labels and labels is None:
            raise ValueError(f"labels are needed, as {self.kind} is of right answers; got None")
        if not self.needs_labels:
            refuse_unused(f"are not used, as {self.kind} needs none", labels=labels)
        if self.kind == "flips":
            return count_flips(original[0], trimmed[0], decides_by)
        if self.quantile is not None:
            return (measure_errors(original, trimmed) > self.level).astype(np.float64)
        if self._is_mean_error:
            return measure_errors(original, trimmed, self.cap)
        count = count_misses if self.kind == "misses" else count_drops
        wanted: Any = labels  # checked above
        return count(original[0], trimmed[0], wanted, threshold)

    def p_value(self, losses: Array, seed: int = 0) -> float:
        """Return how unlikely such losses are if their true mean is the `risk` or above.

        Where it is at most `delta` the promise may be given. ``seed`` is of the order in which
        samples are taken, where losses are more than 0 and 1.
        """
        if self.counts:
            return binomial_tail(round(losses.sum()), len(losses), self.risk)
        return betting_p_value(self._to_unit(losses), self._to_unit(self.risk), self.delta, seed)

    def limit(self, losses: Array, seed: int = 0) -> float:
        """Return what the true mean of the losses exceeds with a chance of at most `delta`."""
        if self.counts:
            return share_limit(round(losses.sum()), len(losses), self.delta)
        unit = mean_limit(self._to_unit(losses), self.delta, seed)
        return 2 * unit - 1 if self.kind == "drop" else unit * self.cap

    def rows_needed(self, losses: Array | None = None) -> int | None:
        """Return how many held-out rows it takes for the promise to be given.

        Without ``losses``, for a model that changes nothing: with fewer rows there is no use in
        trying. With them, an estimate for a model that goes on to lose what it lost there; None
        if no number is enough, or none up to a million.
        """
        least = least_rows(self.level / self.cap if self._is_mean_error else self.risk, self.delta)
        if losses is not None:
            more = max(least, len(losses) + 1)  # as these were not enough
            return self._find_rows(losses, more) if losses.mean() < self.risk else None
        return least if self.counts else self._find_rows(np.zeros(1), least) or least

    def would_pass(self, losses: Array, n_rows: int) -> bool:
        """Tell whether so many rows would do for the promise, if losses went on as they are."""
        spread = np.arange(n_rows) * len(losses) // n_rows
        return self.p_value(np.sort(losses)[spread]) <= self.delta

    def _find_rows(self, losses: Array, least: int) -> int | None:
        """Return how many rows do, if losses go on as they are, beginning with what may do."""
        most = 2 * least
        while most <= MOST_ROWS and not self.would_pass(losses, most):
            least, most = most, 2 * most
        if most > MOST_ROWS:
            return None
        span = range(least, most)
        return span.start + bisect_left(span, True, key=lambda n: self.would_pass(losses, n))

    @property
    def _is_mean_error(self) -> bool:
        return self.kind == "error" and self.quantile is None

    def _to_unit(self, losses: Any) -> Any:
        """Return losses or their mean as numbers from 0 to 1."""
        return (1 + losses) / 2 if self.kind == "drop" else losses / self.cap

    @property
    def statement(self) -> str:
        """What is promised, without its confidence."""
        level = format_level(self.level)
        if self.kind == "flips":
            return f"at most {level} of future samples get another answer than from the original"
        if self.kind == "misses":
            return f"at most {level} of future samples are right before and wrong after trimming"
        if self.kind == "drop":
            return f"the accuracy on future samples drops by at most {level} of all samples"
        if self.quantile is not None:
            most = format_level(self.quantile)
            return f"the outputs of at least {most} of future samples move by at most {level}"
        cut = format_level(self.cap)
        return f"the outputs of future samples move by at most {level} on average, cut at {cut}"

    def sentence(self, losses: Array) -> str:
        """Return the promise and what was seen, in one sentence."""
        n_rows = f"{len(losses):,} held-out samples"
        if self.counts:
            seen = f"{round(losses.sum()):,} of {n_rows} were beyond"
            if self.kind != "error":
                seen = f"{round(losses.sum()):,} of {n_rows} did"
        else:
            seen = f"{format_seen(losses.mean())} on {n_rows}"
        return f"With {format_level(self.confidence)} confidence, {self.statement} ({seen})."


def format_level(value: float) -> str:
    """Return a share that was named as a percentage, with all the digits it has."""
    return f"{100 * value:.14g}%"


def format_seen(value: float) -> str:
    """Return a share that was measured as a percentage of three digits."""
    return f"{100 * value:.3g}%"


def _check_part(value: object, name: str) -> float:
    """Return a share that is neither nothing nor all, nor as good as these."""
    number = check_share(value, name)
    if not SMALLEST <= number <= 1 - SMALLEST:
        raise ValueError(
            f"{name} must be greater than 0 and less than 1, by {SMALLEST:g} at least; got "
            f"{show(value)}"
        )
    return number
