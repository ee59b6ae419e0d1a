"""A limit on what future samples lose."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from ...base.arguments import check_choice, refuse_unused
from ...layer.blocks.workers import Pool
from ...models.opened_model import OpenedModel
from ...models.samples import refuse_shuffled
from ...promise.target import Target, format_level
from ..methods.method import Method, Run
from .error import Error
from .goal import Goal, PathGoal
from .sparsity import Sparsity
from .units import Units

__all__ = ["Promise"]

PATHS: dict[str, PathGoal] = {
    "sparsity": Sparsity(0.9),
    "epsilon": Error(0.1, regularise="auto", reweighted=2),
    "units": Units(size=0.5),
}


@dataclass(frozen=True, repr=False, eq=False)
class Promise(Goal):
    """The boldest model of a path of which can be promised what it does to samples nobody has seen.

    Exactly one of `flips`, `misses`, `drop` and `error` says what. Models from careful to bold are
    tested on held-out samples (``held_out`` of `nettrim.trim`), which neither the solver sees nor
    the search for the path. Whatever the network and the data, the chance that the promise is
    broken is at most ``1 - confidence`` if held-out and future samples are exchangeable.

    Parameters
    ----------
    flips : float, optional
        Share of future samples that get another answer than from the original network: another
        largest output; of classifiers of scikit-learn, another class or other labels.
    misses : float, optional
        Share of them that the original has right and the trimmed network wrong.
    drop : float, optional
        By how much the accuracy drops: misses less those that the trimmed network alone has right.
    error : float, optional
        Distance of a sample's outputs from the original ones, relative to their norm: its mean, cut
        at `cap`, or with `quantile` that of so many of the samples.
    quantile : float, optional
        Share of samples on which the error is promised.
    confidence : float, default 0.95
    cap : float, default 1
        Larger errors count as this one in their mean.
    labels : array_like of shape (n_held_out,), optional
        The right answers of the held-out samples, which `misses` and `drop` need, as
        `nettrim.TrimResult.accuracy` takes them: the names of classes of a classifier of
        scikit-learn, else numbers of the output that ought to be largest, from 0.
    path : {"sparsity", "epsilon", "units"} or nettrim.Goal, default "sparsity"
        What the models differ by: how many weights are left; the error allowed to each layer, so
        that every model is certified (with ``regularise="auto"`` and ``reweighted=2`` of
        `nettrim.Error`); or how many units. A `nettrim.Sparsity`, `nettrim.Error` or
        `nettrim.Units` gives its other options to all models, whatever its own size.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be, or would not be used; the message names it.

    Notes
    -----
    Models are sought first on the calibration samples alone, a quarter of which is set aside to
    judge them. Those that are tested, until one fails, are fitted to all; by sparsity without
    the exchanges of weights by which `nettrim.Sparsity` ends. Several promises tried on the same
    held-out samples hold one by one, and not all together.

    Source: fixed-sequence testing as in Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then
    Test", arXiv 2110.01052; docs/mathematics/promise.md.

    Examples
    --------
    >>> import nettrim
    >>> from nettrim.demo import load_digits
    >>> digits = load_digits()
    >>> goal = nettrim.Promise(flips=0.05)
    >>> result = nettrim.trim(
    ...     digits.network, digits.X, goal, held_out=digits.X_test, progress=False
    ... )
    >>> result.promise.kept, result.promise.seen < 0.05
    (True, True)
    """

    _: KW_ONLY
    flips: float | None = None
    misses: float | None = None
    drop: float | None = None
    error: float | None = None
    quantile: float | None = None
    confidence: float = 0.95
    cap: float | None = None
    labels: ArrayLike | None = None
    path: str | PathGoal = "sparsity"
    target: Target = field(init=False)

    shortcuts: ClassVar[tuple[str, ...]] = ("flips", "misses", "drop", "error")

    def __post_init__(self) -> None:
        """Check the options."""
        names = ("flips", "misses", "drop", "error", "quantile", "confidence", "cap")
        target = Target.of(**{name: getattr(self, name) for name in names})
        object.__setattr__(self, "target", target)
        if not isinstance(self.path, PathGoal):
            check_choice(self.path, tuple(PATHS), "path")
        if not target.needs_labels:
            refuse_unused(f"are not used, as {target.kind} needs none", labels=self.labels)
        elif self.labels is None:
            raise ValueError(
                f"labels are needed, as {target.kind} is of right answers: those of the held-out "
                "samples"
            )

    @property
    def models(self) -> PathGoal:
        """A goal of the path, of any size."""
        return self.path if isinstance(self.path, PathGoal) else PATHS[self.path]

    def check(self, scheme: str, pool: Pool | None) -> None:
        """Refuse what the path would not use."""
        self.models.check(scheme, pool)

    def check_data(self, opened: OpenedModel[Any], counted: Sequence[int]) -> None:
        """Refuse held-out samples that are none, too few, or not held out."""
        if opened.held_out is None:
            raise ValueError(
                "held_out is needed: a promise of future samples takes samples that the solver "
                "does not see"
            )
        if len(opened.data) < 2:
            raise ValueError(
                "X has one sample; a promise takes at least two: some judge in the search for the "
                "model, the others are what it is fitted to"
            )
        if self.labels is not None and not opened.held_out_in_order:
            refuse_shuffled("held_out")
        n_samples, least = len(opened.held_out), self.target.rows_needed()
        if least is not None and n_samples < least:
            raise ValueError(
                f"held_out has {n_samples:,} samples; to promise that {self.target.statement}, "
                f"with {format_level(self.confidence)} confidence, takes at least {least:,}, even "
                "of a model that loses nothing on them"
            )
        if opened.n_copies:
            raise ValueError(
                f"held_out: {opened.n_copies:,} of its {n_samples:,} samples are in X as well, so "
                "nothing that they say of future ones could be promised; leave them out of one of "
                "the two"
            )

    def method(self, run: Run, scheme: str, pool: Pool | None) -> Method:
        """Return the method of a model of the path, of its own size."""
        return self.models.method(run, scheme, pool)

    def arguments(self, scheme: str) -> dict[str, Any]:
        """Return the same as options of `nettrim.trim`."""
        return {"goal": repr(self), "scheme": scheme}

    def given(self) -> dict[str, Any]:
        """Return the options that were given."""
        return {name: value for name, value in super().given().items() if name != "target"}

    def __repr__(self) -> str:
        """Return the call that makes it; labels are told by what they hold."""
        told = self.given()
        if self.labels is not None:
            held = np.ascontiguousarray(self.labels)
            told["labels"] = f"<sha256 {hashlib.sha256(held.tobytes()).hexdigest()[:16]}>"
        options = ", ".join(f"{name}={value!r}" for name, value in told.items())
        return f"Promise({options})"
