"""A number of weights."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Literal

from ...base.arguments import check_choice, check_share, check_time_limit, refuse_unused
from ...budget.pattern import check_pattern
from ...layer.blocks.workers import Pool
from ..methods.method import Run
from ..methods.to_sparsity import ToSparsity, is_bold
from .goal import PathGoal, odds_of

__all__ = ["Sparsity"]


@dataclass(frozen=True, repr=False)
class Sparsity(PathGoal):
    """A number of weights, chosen and fitted for the least error behind the ReLU.

    Parameters
    ----------
    sparsity : float, optional
        Share of the weights of the pruned layers that is to be removed, to one weight.
    pattern : str, optional
        "2:4" leaves at most 2 of every 4 inputs in a row to each output; so do other numbers.
        Without `sparsity`: all that the pattern lets go.
    share : {"network", "layer"}, default "network"
        With `sparsity`: all layers share one budget, and a weight stays where that keeps the output
        of the network closest; or each layer is made as sparse as the others.
    min_density : float, default 0
        With `sparsity` and ``share="network"``: share of its weights that every layer keeps at
        least.
    time_limit : float, optional
        Seconds for each layer; its best answer until then is used. Default none.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be, or would not be used; the message names it.

    Examples
    --------
    >>> import nettrim
    >>> nettrim.Sparsity(0.9, min_density=0.02)
    Sparsity(sparsity=0.9, min_density=0.02)
    >>> nettrim.Sparsity(pattern="2:4")
    Sparsity(pattern='2:4')
    """

    sparsity: float | None = None
    _: KW_ONLY
    pattern: str | None = None
    share: Literal["network", "layer"] | None = None
    min_density: float | None = None
    time_limit: float | None = None

    shortcuts: ClassVar[tuple[str, ...]] = ("sparsity", "pattern")
    level: ClassVar[str] = "sparsity"
    range_of_care: ClassVar[tuple[float, float]] = (0.002, 1e5)
    tested: ClassVar[tuple[float, ...]] = (
        *(2.5, 1.6, 1.3, 1.16, 1.07, 1.0),
        *(0.94, 0.88, 0.82, 0.76, 0.7, 0.64),
    )

    def __post_init__(self) -> None:
        """Check the options."""
        self._check("sparsity", check_share)
        self._check("pattern", check_pattern)
        self._check("share", check_choice, choices=("network", "layer"))
        self._check("min_density", check_share)
        self._check("time_limit", check_time_limit)
        self._refuse_unused()

    def _refuse_unused(self) -> None:
        if self.sparsity is None and self.pattern is None:
            raise ValueError(
                "sparsity is needed, a share of weights like 0.9; or a pattern like '2:4'"
            )
        if self.sparsity is None:
            why = "belongs to sparsity, a pattern alone leaves nothing to share"
            refuse_unused(why, share=self.share, min_density=self.min_density)
        if self.share == "layer":
            why = "belongs to share='network', otherwise all layers are equally sparse"
            refuse_unused(why, min_density=self.min_density)

    def check(self, scheme: str, pool: Pool | None) -> None:
        """Refuse nothing: both schemes use workers."""

    @property
    def care(self) -> float:
        """The weights that are left over those that go."""
        return odds_of(1 - (self.sparsity or 0.0))

    def with_care(self, care: float) -> Sparsity:
        """Return the goal with so many weights left for each that goes."""
        return replace(self, sparsity=1 / (1 + care))

    def method_on_path(
        self, run: Run, scheme: str, pool: Pool | None, memory: dict[int, Any], *, draft: bool
    ) -> ToSparsity:
        """Return surgery under a shared budget."""
        cascaded = scheme == "cascade"
        known = memory.setdefault(is_bold(self.sparsity), {})
        return ToSparsity(run, cascaded, **self._filled(), pool=pool, known=known, draft=draft)

    def arguments(self, scheme: str) -> dict[str, Any]:
        """Return the same as options of `nettrim.trim`: defaults filled in, None where unused."""
        unused = ["share"] if self.sparsity is None else []
        unused += ["min_density"] if self.sparsity is None or self.share == "layer" else []
        return {
            "sparsity": self.sparsity,
            "scheme": scheme,
            **self._filled(),
            **dict.fromkeys(unused),
        }

    def _filled(self) -> dict[str, Any]:
        """Return all options with their defaults."""
        return {**vars(self), "share": "network", "min_density": 0.0, **self.given()}
