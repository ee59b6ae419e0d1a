"""What is asked of a layer program beside its data: which form, and how it is solved."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.arguments import (
    check_choice,
    check_integer,
    check_max_iter,
    check_number,
    check_threads,
    check_time_limit,
    show,
)
from ..base.limits import MAX_ITER

__all__ = ["CHECK_EVERY", "SOLVERS", "Form", "LayerOptions"]

SOLVERS = ("auto", "newton", "admm")
CHECK_EVERY = 25


@dataclass(frozen=True)
class Form:
    """Exactly one of the two: the radius of the ball, or the penalty of the weights."""

    epsilon: float | None = None
    penalty: float | None = None

    @classmethod
    def of(cls, epsilon: float | None, penalty: float | None) -> Form:
        """Check what the caller gave."""
        if (epsilon is None) == (penalty is None):
            raise ValueError(
                "give exactly one of epsilon and penalty, "
                f"got epsilon={show(epsilon)} and penalty={show(penalty)}"
            )
        if epsilon is not None:
            return cls(epsilon=check_number(epsilon, "epsilon", least=0.0))
        return cls(penalty=check_number(penalty, "penalty", above=0.0))

    @property
    def unit(self) -> float:
        """Unit of multipliers; those of a penalised program are as large as its penalty."""
        return 1.0 if self.penalty is None else self.penalty


@dataclass(frozen=True)
class LayerOptions:
    """How layer programs are solved; see `nettrim.solve_layer`.

    Attributes
    ----------
    time_limit : float
        Seconds for all of them together; infinity for none.
    all_multipliers : bool
        Whether answers hold the multipliers of all entries.
    reweighted : int
        Rounds after the first, see `nettrim.layer.reweighting`.
    """

    solver: str
    tol: float
    max_iter: int
    time_limit: float
    check_every: int
    n_threads: int
    all_multipliers: bool = True
    reweighted: int = 0

    @classmethod
    def of(
        cls,
        *,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        time_limit: float | None = None,
        check_every: int = CHECK_EVERY,
        n_threads: int | None = None,
        reweighted: int = 0,
    ) -> LayerOptions:
        """Check what the caller gave."""
        return cls(
            solver=check_choice(solver, SOLVERS, "solver"),
            tol=check_number(tol, "tol", above=0.0),
            max_iter=check_max_iter(max_iter, MAX_ITER),
            time_limit=check_time_limit(time_limit),
            check_every=check_integer(check_every, "check_every"),
            n_threads=check_threads(n_threads),
            reweighted=check_integer(reweighted, "reweighted", least=0),
        )
