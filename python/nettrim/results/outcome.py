"""What came of a run: plain data and the numbers that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from ..models.layer_view import Untouched
from .promise import PromiseReport
from .unseen import Unseen
from .widths import Widths

__all__ = ["BUDGET", "KEPT", "UNREACHED", "LayerReport", "Measured", "Outcome", "OutputReport"]

Model = TypeVar("Model")

KEPT = "kept"
BUDGET = "budget"
UNREACHED = "not reached"


@dataclass(frozen=True)
class LayerReport:
    r"""The account of one prunable layer.

    ``epsilon``, ``discrepancy``, ``bound``, ``prior_bound`` and ``residual`` are relative to
    ``output_norm``; multiply by it for absolute numbers. They speak of the calibration samples.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Number of inputs and outputs.
    nonzeros_before, nonzeros_after : int
        Nonzero weights, biases not counted.
    l1_before, l1_after : float
        Sum of the absolute values of weights and biases: what the layer program minimises.
    output_norm : float
        Frobenius norm of the layer's original output on the calibration samples (1 if it is 0).
    discrepancy : float
        Measured: distance between the layer's output in the trimmed and in the original network.
        NaN, like bounds and norm, where Ctrl-C ended the measuring.
    bound : float
        Proved: ``discrepancy`` cannot exceed it in exact arithmetic (docs/mathematics/bounds.md).
    prior_bound : float
        Promised before anything was solved, by Theorem 1 or 2 of Net-Trim; mostly very loose.
    status : str
        "optimal", or why not: "max_iter", "time_limit", "numerical". "budget" for a layer that was
        given a number of weights, "kept" for one that was not to be pruned, "not reached" for one
        an interrupted run left as it was.
    epsilon : float or None
        Radius of the program's ball. None for a layer that was not solved for an error, like the
        next five.
    residual, violation : float or None
        Feasibility in the layer's program: distance to the original output on active entries, and
        the largest excess over the upper bound on the others, relative to the largest output
        (without a bias that stays as it is: what the program asks for).
    gap : float or None
        How far the l1 norm can at most be from the optimum, relatively; with ``reweighted`` the
        norm at the costs of the last round. Without meaning, and sometimes negative, if the answer
        is not feasible.
    l1_gap : float or None
        How far the l1 norm itself can be: what ``reweighted`` has added to it on the way to fewer
        weights. ``gap`` without.
    iterations : int or None
    seconds : float or None
        Time of the solve; of the earlier run's solve if the layer came from a checkpoint. None for
        a layer that was not pruned.
    held_out_discrepancy : float or None
        ``discrepancy`` on samples the solver has not seen, if some were given.
    active_rows : int or None
        On how many different rows of its program an output is active, the median over all outputs:
        so many equations there are for the inputs' weights (and a bias). None for a layer that was
        not pruned.
    solved_rows, n_rows : int or None
        On how many rows it was solved, drawn at random, of how many the samples have there: one
        each, or one for each position (``max_patches`` of `nettrim.trim`). None for a layer that
        was not pruned; 0 where Ctrl-C ended the measuring.
    history : tuple of (float, float)
        Seconds and gap at every certificate of the solve.
    """

    name: str
    shape: tuple[int, int]
    nonzeros_before: int
    nonzeros_after: int
    l1_before: float
    l1_after: float
    output_norm: float
    discrepancy: float
    bound: float
    prior_bound: float
    status: str
    epsilon: float | None = None
    residual: float | None = None
    violation: float | None = None
    gap: float | None = None
    l1_gap: float | None = None
    iterations: int | None = None
    seconds: float | None = None
    held_out_discrepancy: float | None = None
    active_rows: int | None = None
    solved_rows: int | None = None
    n_rows: int | None = None
    history: tuple[tuple[float, float], ...] = field(default=(), repr=False, compare=False)

    @property
    def is_measured(self) -> bool:
        """Whether errors were measured; Ctrl-C ends that as well."""
        return not math.isnan(self.discrepancy)

    @property
    def pruned(self) -> bool:
        """Whether the layer was solved for."""
        return self.status not in (KEPT, UNREACHED)

    @property
    def converged(self) -> bool:
        """Whether nothing is left to desire: optimal, within its budget, or not to be pruned."""
        return self.status in ("optimal", BUDGET, KEPT)

    @property
    def unchanged(self) -> bool:
        """Whether no answer was better than the weights there were, which are still there."""
        same = self.l1_after == self.l1_before and self.nonzeros_after == self.nonzeros_before
        return same and self.pruned and not self.converged

    @property
    def few_rows(self) -> bool:
        """Whether there are fewer equations than weights to an output: sparse without meaning."""
        return self.active_rows is not None and self.active_rows < self.shape[0]


@dataclass(frozen=True)
class OutputReport:
    """The account of one output of the model; errors are relative to ``norm``.

    Attributes
    ----------
    name : str
    norm : float
        Frobenius norm of the original output on the calibration samples (1 if it is 0).
    discrepancy, bound : float
        Measured and proved, as of a layer.
    held_out_discrepancy : float or None
        Measured on samples the solver has not seen, if some were given.
    runtime_discrepancy : float or None
        ``discrepancy`` as the framework computes both models in their own precision, on the
        calibration samples. None if the model's view cannot tell.
    runtime_error : float or None
        How far the framework's results are from those of exact arithmetic, for the original or the
        trimmed model, whichever is farther: ``runtime_discrepancy`` and ``discrepancy`` cannot
        differ by more than twice this.
    runtime_differs : bool
        Whether that is more than rounding: half of the digits of the model's precision are lost.
    """

    name: str
    norm: float
    discrepancy: float
    bound: float
    held_out_discrepancy: float | None = None
    runtime_discrepancy: float | None = None
    runtime_error: float | None = None
    runtime_differs: bool = False


class Measured(NamedTuple):
    """What a function given as ``measure`` says of the two models.

    Attributes
    ----------
    before, after : float
        NaN where it has said nothing.
    """

    before: float
    after: float


@dataclass(frozen=True, repr=False)
class Outcome(Generic[Model]):
    """The trimmed model and what is known about it: the fields of `nettrim.TrimResult`."""

    model: Model
    original: Model
    layers: tuple[LayerReport, ...]
    scheme: str
    n_samples: int
    discrepancy: float
    bound: float
    held_out_discrepancy: float | None = None
    interrupted: bool = False
    recipe: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[OutputReport, ...] = ()
    untouched: tuple[Untouched, ...] = ()
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    measured: dict[str, Measured] = field(default_factory=dict)
    widths: Widths | None = None
    unseen: Unseen | None = None
    promise: PromiseReport | None = None

    @property
    def is_measured(self) -> bool:
        """Whether errors were measured; Ctrl-C ends that as well."""
        return not math.isnan(self.discrepancy)

    @property
    def nonzeros_before(self) -> int:
        """Nonzero weights of all prunable layers, biases not counted."""
        return sum(layer.nonzeros_before for layer in self.layers)

    @property
    def nonzeros_after(self) -> int:
        """Those that are left."""
        return sum(layer.nonzeros_after for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of zeros among the weights of all prunable layers."""
        return 1.0 - self.nonzeros_after / self._size

    @property
    def model_sparsity(self) -> float:
        """Share of zeros among all weights of the model, those left alone included."""
        left = self.nonzeros_after + sum(weight.nonzeros for weight in self.untouched)
        return 1.0 - left / (self._size + sum(weight.size for weight in self.untouched))

    @property
    def _size(self) -> int:
        return sum(math.prod(layer.shape) for layer in self.layers)

    @property
    def converged(self) -> bool:
        """Whether every layer that was to be pruned has been, to proved optimality."""
        return all(layer.converged for layer in self.layers)

    def __repr__(self) -> str:
        """Return the outcome in one line."""
        return (
            f"{type(self).__name__}({self.scheme}, {len(self.layers)} layers, "
            f"sparsity {self.sparsity:.3f}, "
            f"discrepancy {self.discrepancy:.4g}, bound {self.bound:.4g})"
        )
