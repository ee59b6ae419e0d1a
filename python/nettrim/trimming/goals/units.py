"""A smaller network."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from ...base.arguments import check_integer, check_share
from ...layer.blocks.workers import Pool
from ..methods.method import Run
from ..methods.to_units import ToUnits
from .goal import Goal

__all__ = ["Units"]


@dataclass(frozen=True, repr=False)
class Units(Goal):
    """A network of smaller shapes: units, channels and heads are gone.

    Exactly one of `size` and `operations` says how small.

    Parameters
    ----------
    size : float, optional
        Share of the model's parameters that is left.
    operations : float, optional
        Share of its multiplications for a sample that is left.
    min_width : int, default 1
        No signal becomes narrower than that.
    multiple_of : int, default 8
        Widths are multiples of this number, as kernels like them, or what they were.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be; the message names it.

    Examples
    --------
    >>> import nettrim
    >>> nettrim.Units(operations=0.5)
    Units(operations=0.5)
    """

    size: float | None = None
    _: KW_ONLY
    operations: float | None = None
    min_width: int | None = None
    multiple_of: int | None = None

    shortcuts: ClassVar[tuple[str, ...]] = ("size", "operations")

    def __post_init__(self) -> None:
        """Check the options."""
        self._check("size", check_share)
        self._check("operations", check_share)
        self._check("min_width", check_integer)
        self._check("multiple_of", check_integer)
        if (self.size is None) == (self.operations is None):
            raise ValueError(
                "size or operations is needed, a share that is left like 0.5: one of them"
            )

    def check(self, scheme: str, pool: Pool | None) -> None:
        """Refuse workers, which would have nothing to do."""
        if pool is not None:
            raise ValueError("executor: nettrim.Units works in this process alone")

    def method(self, run: Run, scheme: str, pool: Pool | None) -> ToUnits:
        """Return surgery on whole units."""
        price = "operations" if self.size is None else "size"
        target = self.operations if self.size is None else self.size
        filled = self._filled()
        return ToUnits(
            run,
            scheme == "cascade",
            price,
            float(target or 0.0),
            filled["min_width"],
            filled["multiple_of"],
        )

    def arguments(self, scheme: str) -> dict[str, Any]:
        """Return the same as options of `nettrim.trim`: defaults filled in, None where unused."""
        return {"scheme": scheme, **self._filled()}

    def _filled(self) -> dict[str, Any]:
        """Return all options with their defaults."""
        return {**vars(self), "min_width": 1, "multiple_of": 8, **self.given()}
