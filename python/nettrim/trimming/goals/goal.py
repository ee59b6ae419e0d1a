"""What all goals have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...layer.blocks.workers import Pool
from ...models.opened_model import OpenedModel
from ..methods.method import Method, Run

__all__ = ["Goal", "PathGoal", "odds_of", "share_of"]


@dataclass(frozen=True, repr=False)
class Goal(ABC):
    """What is wanted of a trimmed model; `nettrim.Error` and `nettrim.Sparsity` are goals.

    A subclass is a frozen dataclass, whose fields are its options and None where the default holds;
    docs/developers/add_a_goal.md shows one.

    Attributes
    ----------
    shortcuts : tuple of str
        The fields by which `nettrim.trim` knows that this goal is meant.
    leaves_rare : bool
        Whether layers stay, if they are not named, that a model lets meet fewer rows than they have
        inputs.
    """

    shortcuts: ClassVar[tuple[str, ...]]
    leaves_rare: ClassVar[bool] = False

    @abstractmethod
    def check(self, scheme: str, pool: Pool | None) -> None:
        """Refuse, before any work, what this scheme or these workers would not use."""

    def check_data(  # noqa: B027 (most goals refuse nothing)
        self, opened: OpenedModel[Any], counted: Sequence[int]
    ) -> None:
        """Refuse, before any work, a model or data of which this cannot be wanted."""

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


class PathGoal(Goal):
    """A goal with a size that can be changed: the models of all sizes are a path.

    A model's *care* is a positive number that falls from careful models to bold ones: steps of a
    search are ratios of it. Where a share of a model is left it is the odds of that, what is left
    over what is gone: so steps are as fine beside the whole model as beside none.

    Attributes
    ----------
    level : str
        The field that says how bold a model is.
    range_of_care : tuple of float
        Of the boldest and of the most careful model that is worth a look.
    search_steps : int
        Models that a search looks at, at most.
    tested : tuple of float
        Models that are tested after it, at most: over the care of the one that was found, in turn.
    repeatable : bool
        Whether what models leave for each other makes no difference to them, to the last bit.
    """

    level: ClassVar[str]
    range_of_care: ClassVar[tuple[float, float]]
    search_steps: ClassVar[int] = 9
    tested: ClassVar[tuple[float, ...]] = (2.5, 1.5, 1.2, 1.0, 0.85, 0.72, 0.6, 0.5)
    repeatable: ClassVar[bool] = True

    @property
    @abstractmethod
    def care(self) -> float:
        """How careful the model is."""

    @abstractmethod
    def with_care(self, care: float) -> PathGoal:
        """Return the same goal for another model of the path."""

    @abstractmethod
    def method_on_path(
        self, run: Run, scheme: str, pool: Pool | None, memory: dict[int, Any], *, draft: bool
    ) -> Method:
        """Return the method that reaches the goal.

        Parameters
        ----------
        run, scheme, pool : as of `method`
        memory : dict
            What the methods of other models of the path have left for this one.
        draft : bool
            Whether a rougher model is enough, which costs less.
        """

    def method(self, run: Run, scheme: str, pool: Pool | None) -> Method:
        """Return the method that reaches the goal, alone on its path."""
        return self.method_on_path(run, scheme, pool, {}, draft=False)

    @property
    def title(self) -> str:
        """What tells the model from others of the path."""
        return f"{self.level} {getattr(self, self.level):.6g}"


def odds_of(share: float) -> float:
    """Return a share over what is not in it."""
    return share / (1 - share) if share < 1 else math.inf


def share_of(odds: float) -> float:
    """Return the share that has such odds."""
    return odds / (1 + odds)
