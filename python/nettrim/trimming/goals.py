"""What is wanted of a trimmed network: a goal of `nettrim.trim`.

A goal is checked when it is made. It names the method that reaches it, and what a checkpoint and a
recipe have to know of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, Literal, TypedDict

from ..base.arguments import (
    check_choice,
    check_integer,
    check_number,
    check_share,
    check_time_limit,
    refuse_unused,
    show,
)
from ..budget.pattern import check_pattern
from ..layer.blocks.workers import Pool
from ..layer.options import SOLVERS
from .methods.method import Method, Run
from .methods.to_error import ToError
from .methods.to_sparsity import ToSparsity

__all__ = ["SCHEMES", "Error", "Goal", "GoalOptions", "Sparsity", "resolve_goal"]

SCHEMES = ("cascade", "parallel")


class GoalOptions(TypedDict, total=False):
    """What `nettrim.trim` takes besides ``epsilon`` or ``sparsity``, which are short for a goal."""

    pattern: str | None
    share: Literal["network", "layer"] | None
    min_density: float | None
    gamma: float | None
    slack: Literal["positive", "paper"] | None
    kappa: float | None
    tol: float | None
    solver: Literal["auto", "newton", "admm"] | None
    max_iter: int | None
    time_limit: float | None


@dataclass(frozen=True, repr=False)
class Goal(ABC):
    """What is wanted of a trimmed model; `nettrim.Error` and `nettrim.Sparsity` are goals.

    A subclass is a frozen dataclass, whose fields are its options and None where the default holds;
    docs/developers/add_a_goal.md shows one.

    Attributes
    ----------
    shortcuts : tuple of str
        The fields by which `nettrim.trim` knows that this goal is meant.
    """

    shortcuts: ClassVar[tuple[str, ...]]

    @abstractmethod
    def check(self, scheme: str, pool: Pool | None) -> None:
        """Refuse, before any work, what this scheme or these workers would not use."""

    @abstractmethod
    def method(self, run: Run, scheme: str, pool: Pool | None) -> Method:
        """Return the method that reaches the goal."""

    @abstractmethod
    def arguments(self, scheme: str) -> dict[str, Any]:
        """Return the same as options of `nettrim.trim`: defaults filled in, None where unused."""

    def identity(self, scheme: str) -> dict[str, Any]:
        """Return what every layer's answer depends on, for a checkpoint."""
        return {"goal": type(self).__name__, **self.arguments(scheme)}

    def given(self) -> dict[str, Any]:
        """Return the options that were given."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def _check(self, name: str, check: Callable[..., Any], **limits: Any) -> None:
        """Put what a check makes of an option in its place, if it was given."""
        value = getattr(self, name)
        if value is not None:
            object.__setattr__(self, name, check(value, name=name, **limits))

    def __repr__(self) -> str:
        """Return the call that makes it."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.given().items())
        return f"{type(self).__name__}({options})"


@dataclass(frozen=True, repr=False)
class Error(Goal):
    r"""The fewest weights, by their l1 norm, within an error of each layer; every layer certified.

    Parameters
    ----------
    epsilon : float
        Error allowed to a layer, relative to the Frobenius norm of its output: to each layer in the
        parallel scheme, to the first pruned one in the cascade.
    gamma : float, default 1.1
        Inflation of :math:`\epsilon_l^2` in the cascade, at least 1. At 1 the original weights lie
        on the boundary of the feasible set and solving is slow.
    slack : {"positive", "paper"}, default "positive"
        Upper bound on inactive entries in the cascade.
    kappa : float in (0, 1], default 1
        Cascade only: factor on :math:`\epsilon_l` of the last pruned layer. Below 1 the discrepancy
        of the network shrinks about as much, or the program is infeasible; give ``checkpoint`` then
        and the layers in front need not be solved again for another kappa.
    tol : float, default 1e-4
        Relative tolerance on feasibility and duality gap of every layer.
    solver : {"auto", "newton", "admm"}, default "auto"
    max_iter : int, optional
        Of each layer, as ``solver`` passed to `nettrim.solve_layer`.
    time_limit : float, optional
        Seconds for each layer; its best answer until then is used, or if that errs by more than
        twice what is allowed the weights there were. Default none.

    Raises
    ------
    TypeError, ValueError
        If an option is not what it must be; the message names it.

    Examples
    --------
    >>> import nettrim
    >>> nettrim.Error(0.05, kappa=0.5)
    Error(epsilon=0.05, kappa=0.5)
    """

    epsilon: float
    _: KW_ONLY
    gamma: float | None = None
    slack: Literal["positive", "paper"] | None = None
    kappa: float | None = None
    tol: float | None = None
    solver: Literal["auto", "newton", "admm"] | None = None
    max_iter: int | None = None
    time_limit: float | None = None

    shortcuts: ClassVar[tuple[str, ...]] = ("epsilon",)

    def __post_init__(self) -> None:
        """Check the options."""
        object.__setattr__(self, "epsilon", check_number(self.epsilon, "epsilon", least=0.0))
        self._check("gamma", check_number, least=1.0)
        self._check("slack", check_choice, choices=("positive", "paper"))
        self._check("kappa", check_number, above=0.0, most=1.0)
        self._check("tol", check_number, above=0.0)
        self._check("solver", check_choice, choices=SOLVERS)
        self._check("max_iter", check_integer)
        self._check("time_limit", check_time_limit)

    def check(self, scheme: str, pool: Pool | None) -> None:
        """Refuse what belongs to the cascade in the parallel scheme."""
        if scheme == "parallel":
            why = "belongs to scheme='cascade', the parallel scheme has none"
            refuse_unused(why, gamma=self.gamma, slack=self.slack, kappa=self.kappa)

    def method(self, run: Run, scheme: str, pool: Pool | None) -> ToError:
        """Return the layer programs of Net-Trim."""
        return ToError(run, scheme == "cascade", **self._filled(), pool=pool)

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
        defaults = {"gamma": 1.1, "slack": "positive", "kappa": 1.0, "tol": 1e-4, "solver": "auto"}
        return {**vars(self), **defaults, **self.given()}


@dataclass(frozen=True, repr=False)
class Sparsity(Goal):
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

    def method(self, run: Run, scheme: str, pool: Pool | None) -> ToSparsity:
        """Return surgery under a shared budget."""
        return ToSparsity(run, scheme == "cascade", **self._filled(), pool=pool)

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


GOALS: tuple[type[Goal], ...] = (Error, Sparsity)


def resolve_goal(goal: Goal | None, options: Mapping[str, Any]) -> Goal:
    """Return the goal a caller gave, or the one that options of `nettrim.trim` are short for.

    Raises
    ------
    TypeError, ValueError
        If there is none or more than one, or an option does not belong to it; the message names it.
    """
    for name in options:
        if not any(name in _options_of(kind) for kind in GOALS):
            raise TypeError(f"trim() got an unexpected keyword argument {name!r}")
    given = {name: value for name, value in options.items() if value is not None}
    if goal is not None:
        return _check_alone(goal, given)
    wanted = [kind for kind in GOALS if not given.keys().isdisjoint(kind.shortcuts)]
    if not wanted:
        raise ValueError(
            "epsilon is needed, the relative error allowed, for example 0.05; or sparsity, pattern "
            "or a goal"
        )
    if len(wanted) > 1:
        raise ValueError("epsilon prescribes the error, sparsity and pattern the weights: give one")
    _check_own(given, wanted[0])
    return wanted[0](**given)


def _check_alone(goal: Any, given: Mapping[str, Any]) -> Goal:
    """Return a goal that was given as such; nothing may stand beside it."""
    if not isinstance(goal, Goal):
        kinds = " or ".join(f"nettrim.{kind.__name__}(...)" for kind in GOALS)
        raise TypeError(f"goal must be {kinds}, got {show(goal)}")
    _check_own(given, type(goal))
    for name, value in given.items():
        raise ValueError(
            f"{name} belongs into the goal: "
            f"nettrim.{type(goal).__name__}(..., {name}={show(value)})"
        )
    return goal


def _options_of(kind: type[Goal]) -> set[str]:
    return {field.name for field in fields(kind)}


def _check_own(given: Mapping[str, Any], wanted: type[Goal]) -> None:
    """Refuse options that are those of another goal."""
    used = " or ".join(wanted.shortcuts)
    for name, value in given.items():
        if name not in _options_of(wanted):
            kind = next(kind for kind in GOALS if name in _options_of(kind))
            raise ValueError(
                f"{name} belongs to {kind.shortcuts[0]}, with {used} nothing would use it, "
                f"got {show(value)}"
            )
