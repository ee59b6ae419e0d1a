"""An error of each layer, with proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Literal

from ...base.arguments import (
    check_choice,
    check_integer,
    check_number,
    check_share,
    check_time_limit,
    refuse_unused,
    show,
)
from ...layer.blocks.workers import Pool
from ...layer.options import SOLVERS
from ..methods.method import Run
from ..methods.to_error import ToError
from .goal import PathGoal

__all__ = ["Error"]

DEFAULTS = {
    "gamma": 1.1,
    "slack": "positive",
    "kappa": 1.0,
    "tol": 1e-4,
    "solver": "auto",
    "reweighted": 0,
}
DRAFT_TOL = 1e-3  # of models that are looked at in a search, and kept nowhere


@dataclass(frozen=True, repr=False)
class Error(PathGoal):
    r"""The fewest weights, by their l1 norm, within an error of each layer; every layer certified.

    Parameters
    ----------
    epsilon : float, optional
        Error allowed to a layer, relative to the Frobenius norm of its output: to each layer in the
        parallel scheme, to the first pruned one in the cascade.
    network : float, optional
        Error of the network's output that is wanted, instead: `epsilon` is found with which the
        measured error on the calibration samples is this one, within a hundredth of it, by trimming
        the network some four to eight times. Every layer is certified as ever.
    gamma : float, default 1.1
        Inflation of :math:`\epsilon_l^2` in the cascade, at least 1. At 1 the original weights lie
        on the boundary of the feasible set and solving is slow.
    slack : {"positive", "paper"}, default "positive"
        Upper bound on inactive entries in the cascade.
    kappa : float, default 1
        Cascade only: factor on :math:`\epsilon_l` of the last pruned layer. Below 1 the discrepancy
        of the network shrinks about as much, or the program is infeasible; give ``checkpoint`` then
        and the layers in front need not be solved again for another kappa. Above 1 the last layer
        has more room than the errors in front of it ask for.
    tol : float, default 1e-4
        Relative tolerance on feasibility and duality gap of every layer.
    solver : {"auto", "newton", "admm"}, default "auto"
    max_iter : int, optional
        Of each layer, as ``solver`` passed to `nettrim.solve_layer`.
    time_limit : float, optional
        Seconds for each layer; its best answer until then is used, or if that errs by more than
        twice what is allowed the weights there were. Default none.
    regularise : "auto" or pair of float, optional
        ``(ridge, pull)`` of `nettrim.solve_layer`, which draw each layer's weights to those they
        were: weights then carry over to samples that were not used, and more of them are left at
        the same epsilon. "auto" chooses both for each layer by cross-validation at an equal number
        of weights, and leaves a layer alone whose outputs are active on as many different rows as
        it has inputs, or that gains nothing. What is proved holds as without. Layers of several
        groups are left alone, and only the ridge draws those without a ReLU. With ``time_limit``
        the choice takes 0.4 of it at most, beside the solve. Default neither.
    reweighted : int, default 0
        So many rounds more each layer is solved, as ``reweighted`` of `nettrim.solve_layer`: small
        weights cost more, and fewer are left within the same epsilon. The first leaves three fifths
        to nine tenths of them, for half of the work once more. What is proved of errors holds as
        without; ``gap`` is that of the last round's program, and ``l1_gap`` tells how far the l1
        norm is from the least.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be; the message names it.

    Examples
    --------
    >>> import nettrim
    >>> nettrim.Error(0.05, kappa=0.5)
    Error(epsilon=0.05, kappa=0.5)
    >>> nettrim.Error(network=0.02)
    Error(network=0.02)
    """

    epsilon: float | None = None
    _: KW_ONLY
    network: float | None = None
    gamma: float | None = None
    slack: Literal["positive", "paper"] | None = None
    kappa: float | None = None
    tol: float | None = None
    solver: Literal["auto", "newton", "admm"] | None = None
    max_iter: int | None = None
    time_limit: float | None = None
    regularise: Literal["auto"] | tuple[float, float] | None = None
    reweighted: int | None = None

    shortcuts: ClassVar[tuple[str, ...]] = ("epsilon", "network")
    leaves_rare: ClassVar[bool] = True  # what is proved of a few rows says nothing of others
    level: ClassVar[str] = "epsilon"
    range_of_care: ClassVar[tuple[float, float]] = (1.0, 1e4)
    search_steps: ClassVar[int] = 4
    tested: ClassVar[tuple[float, ...]] = (
        1.5,
        1.1,
        0.8,
        0.6,
        0.45,
    )
    repeatable: ClassVar[bool] = False  # answers to warm starts are as good, and others

    def __post_init__(self) -> None:
        """Check the options."""
        self._check("epsilon", check_number, least=0.0)
        self._check("network", check_share)
        if self.network == 0:
            raise ValueError(
                f"network must be greater than 0, got {show(self.network)}: weights that move "
                "nothing are those of epsilon=0"
            )
        self._check("gamma", check_number, least=1.0)
        self._check("slack", check_choice, choices=("positive", "paper"))
        self._check("kappa", check_number, above=0.0)
        self._check("tol", check_number, above=0.0)
        self._check("solver", check_choice, choices=SOLVERS)
        self._check("max_iter", check_integer)
        self._check("time_limit", check_time_limit)
        self._check("regularise", _check_regularise)
        self._check("reweighted", check_integer, least=0)
        if self.regularise is not None and self.solver == "admm":
            raise ValueError("solver must be 'auto' or 'newton' with regularise, got 'admm'")
        if (self.epsilon is None) == (self.network is None):
            raise ValueError(
                "epsilon is needed, the relative error allowed to a layer, for example 0.05; or "
                "network, that of the network's output: one of them"
            )

    def check(self, scheme: str, pool: Pool | None) -> None:
        """Refuse what belongs to the cascade in the parallel scheme."""
        if scheme == "parallel":
            why = "belongs to scheme='cascade', the parallel scheme has none"
            refuse_unused(why, gamma=self.gamma, slack=self.slack, kappa=self.kappa)

    @property
    def care(self) -> float:
        """One over the error that is allowed to a layer."""
        return 1 / (self.epsilon or self.network or 1.0)

    def with_care(self, care: float) -> Error:
        """Return the goal with an error that is allowed to a layer."""
        return replace(self, epsilon=1 / care, network=None)

    def method_on_path(
        self, run: Run, scheme: str, pool: Pool | None, memory: dict[int, Any], *, draft: bool
    ) -> ToError:
        """Return the layer programs of Net-Trim."""
        options = self._filled()
        del options["network"]
        if draft:
            options["tol"] = max(options["tol"], DRAFT_TOL)
        return ToError(run, scheme == "cascade", **options, pool=pool, answers=memory)

    def arguments(self, scheme: str) -> dict[str, Any]:
        """Return the same as options of `nettrim.trim`: defaults filled in, None where unused."""
        unused = () if scheme == "cascade" else ("gamma", "slack", "kappa")
        return {
            "epsilon": self.epsilon,
            "scheme": scheme,
            **self._filled(),
            **dict.fromkeys(unused),
        }

    def identity(self, scheme: str) -> dict[str, Any]:
        """Return what every layer's answer depends on; kappa is a matter of the last one."""
        return {name: v for name, v in super().identity(scheme).items() if name != "kappa"}

    def _filled(self) -> dict[str, Any]:
        """Return all options with their defaults."""
        return {**vars(self), **DEFAULTS, **self.given()}

    @property
    def title(self) -> str:
        """What tells the model from others of the path."""
        return super().title if self.kappa is None else f"{super().title} kappa {self.kappa:.6g}"


def _check_regularise(value: Any, name: str) -> str | tuple[float, float]:
    """Return "auto", or a ridge and a pull that are not negative."""
    if isinstance(value, str) and value == "auto":
        return value
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"{name} must be 'auto' or a pair (ridge, pull), got {show(value)}")
    ridge, pull = (check_number(number, name, least=0.0) for number in value)
    return ridge, pull
