"""A smaller network."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

from ...base.arguments import check_integer, check_number, check_share, refuse_unused, show
from ...layer.blocks.workers import Pool
from ..methods.method import Run
from ..methods.to_units import ToUnits
from .goal import PathGoal, odds_of, share_of
from .sparsity import Sparsity

__all__ = ["Units"]

WANTED = ("size", "operations", "seconds", "error")  # one of them says how small


@dataclass(frozen=True, repr=False)
class Units(PathGoal):
    """A network of smaller shapes: units, channels and heads are gone.

    Exactly one of `size`, `operations`, `seconds` and `error` says how small.

    Parameters
    ----------
    size : float, optional
        Share of the model's parameters that is left.
    operations : float, optional
        Share of its multiplications for a sample that is left.
    seconds : float, optional
        Share of the time that is left which its framework takes for a batch on this machine, as
        `nettrim.TrimResult.latency` measures it, in ``n_threads`` of `nettrim.trim`. What is
        measured differs from run to run, and so may the answer.
    error : float, optional
        The smallest network is wanted whose output errs at most so much on the calibration data,
        relative to its norm. Several networks are fitted on the way.
    min_width : int, default 1
        No signal becomes narrower than that.
    multiple_of : int, default 8
        Widths are multiples of this number, as kernels like them, or what they were.
    batch : int, default 64
        Samples at a time, with `seconds`.
    then : nettrim.Sparsity, optional
        Units first, then weights: what is wanted of the smaller network. Its layers lose weights
        on its own signals; errors and bounds are those of the original network.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be, or would not be used; the message names it.

    Examples
    --------
    >>> import nettrim
    >>> nettrim.Units(operations=0.5)
    Units(operations=0.5)
    >>> nettrim.Units(operations=0.5, then=nettrim.Sparsity(0.8))
    Units(operations=0.5, then=Sparsity(sparsity=0.8))
    """

    size: float | None = None
    _: KW_ONLY
    operations: float | None = None
    seconds: float | None = None
    error: float | None = None
    min_width: int | None = None
    multiple_of: int | None = None
    batch: int | None = None
    then: Sparsity | None = None

    shortcuts: ClassVar[tuple[str, ...]] = ("size", "operations")
    level: ClassVar[str] = "size"
    range_of_care: ClassVar[tuple[float, float]] = (0.01, 1e3)

    def __post_init__(self) -> None:
        """Check the options."""
        for name in ("size", "operations", "seconds"):
            self._check(name, check_share)
        self._check("error", check_number, above=0.0)
        for name in ("min_width", "multiple_of", "batch"):
            self._check(name, check_integer)
        if len(self._wanted) != 1:
            raise ValueError(
                f"{', '.join(WANTED[:-1])} or {WANTED[-1]} is needed, a share that is left like "
                "0.5 or an error like 0.05: one of them"
            )
        self._check("then", _check_then)
        if self.seconds is None:
            refuse_unused("belongs to seconds, nothing is timed without", batch=self.batch)

    @property
    def _wanted(self) -> dict[str, float]:
        """What was asked for, and how much of it."""
        return {name: value for name, value in self.given().items() if name in WANTED}

    def check(self, scheme: str, pool: Pool | None) -> None:
        """Refuse workers, which would have nothing to do."""
        if pool is not None:
            raise ValueError("executor: nettrim.Units works in this process alone")
        if self.then is not None:
            self.then.check(scheme, pool)

    @property
    def care(self) -> float:
        """The parameters that are left over those that go."""
        return odds_of(self.size or 0.5)

    def with_care(self, care: float) -> Units:
        """Return the goal with so many parameters left for each that goes."""
        if self.then is not None:
            raise ValueError("then: networks of all sizes are a path of units alone, leave it out")
        return replace(
            self, size=share_of(care), operations=None, seconds=None, error=None, batch=None
        )

    def method(self, run: Run, scheme: str, pool: Pool | None) -> ToUnits:
        """Return surgery on whole units."""
        return self.method_on_path(run, scheme, pool, {}, draft=False)

    def method_on_path(
        self, run: Run, scheme: str, pool: Pool | None, memory: dict[int, Any], *, draft: bool
    ) -> ToUnits:
        """Return surgery on whole units."""
        ((price, target),) = self._wanted.items()
        filled = self._filled()
        sizes = filled["min_width"], filled["multiple_of"], filled["batch"]
        return ToUnits(run, scheme == "cascade", price, float(target), *sizes)

    def arguments(self, scheme: str) -> dict[str, Any]:
        """Return the same as options of `nettrim.trim`: defaults filled in, None where unused."""
        filled = self._filled() | ({"batch": None} if self.seconds is None else {})
        if self.then is not None:
            return {"goal": repr(Units(**filled)), "scheme": scheme}
        return {"scheme": scheme, **filled}

    def _filled(self) -> dict[str, Any]:
        """Return all options with their defaults."""
        defaults = {"min_width": 1, "multiple_of": 8, "batch": 64}
        return {**vars(self), **defaults, **self.given()}


def _check_then(value: Any, name: str) -> Sparsity:
    if not isinstance(value, Sparsity):
        raise TypeError(f"{name} must be nettrim.Sparsity(...), got {show(value)}")
    return value
