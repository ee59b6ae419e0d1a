"""The whole curve of a layer: how many weights each error costs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import check_number, check_precision
from ..base.arrays import check_finite
from ..base.dispatch import core
from ..base.limits import Limits
from ..base.table import TableColumn, format_share, format_table
from .data import LayerData
from .gram import Gram, pose
from .solution import LayerProgress, LayerSolution
from .solve import in_sums

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["LayerTrace", "sort_descending", "trace"]


@dataclass(frozen=True)
class LayerTrace(Sequence[LayerSolution]):
    """Certified answers of one layer for several epsilons, in ascending order of epsilon.

    A sequence of `LayerSolution`; prints as a table.

    Attributes
    ----------
    solutions : tuple of LayerSolution
    epsilons, sparsities, objectives : ndarray of shape (n_points,)
        The error allowed, the share of weights that are zero, and the sum of absolute weights.
    converged : bool
        Whether every point is proved.
    """

    solutions: tuple[LayerSolution, ...]

    @property
    def epsilons(self) -> NDArray[np.float64]:  # noqa: D102
        return np.array([s.epsilon for s in self.solutions])

    @property
    def sparsities(self) -> NDArray[np.float64]:  # noqa: D102
        return np.array([1 - s.nonzeros / s.weights.size for s in self.solutions])

    @property
    def objectives(self) -> NDArray[np.float64]:  # noqa: D102
        return np.array([s.objective for s in self.solutions])

    @property
    def converged(self) -> bool:  # noqa: D102
        return all(s.converged for s in self.solutions)

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.solutions)

    def __getitem__(self, index: Any) -> Any:
        """Return a point, or a tuple of points for a slice."""
        return self.solutions[index]

    def __str__(self) -> str:
        """Return a table, one line for each epsilon; what is not proved says so."""
        columns = [
            TableColumn(c) for c in ("epsilon", "kept", "share", "objective", "gap", "seconds")
        ]
        rows = [
            [
                f"{s.epsilon:.6g}",
                f"{s.nonzeros:,}",
                format_share(s.nonzeros, s.weights.size),
                f"{s.objective:.9g}",
                f"{s.gap:.1e}",
                f"{s.seconds:.3f}",
                "" if s.converged else f"{s.status}, NOT CONVERGED",
            ]
            for s in self.solutions
        ]
        seconds = sum(s.seconds for s in self.solutions)
        total = ["total", "", "", "", "", f"{seconds:.3f}", ""]
        return format_table([*columns, TableColumn("", "<")], rows, total)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the share of weights kept against epsilon into a file.

        Parameters
        ----------
        path : str or path-like
            File to write; the suffix chooses the format.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from ..results.plot import plot_trace

        plot_trace(path, self.epsilons, 1 - self.sparsities)


def trace(
    X: ArrayLike | Gram,
    Y: ArrayLike | None = None,
    *,
    epsilons: ArrayLike,
    activation: str | None = None,
    upper: ArrayLike | None = None,
    active: ArrayLike | None = None,
    tol: float = 1e-6,
    max_iter: int | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
    callback: Callable[[LayerProgress], object] | None = None,
    dtype: DTypeLike = np.float64,
    ridge: float = 0.0,
    pull: float = 0.0,
    original: ArrayLike | None = None,
    costs: ArrayLike | None = None,
) -> LayerTrace:
    """Solve a layer for several epsilons, each from the answer to the one before.

    The solver keeps what it knows of the layer, so that the curve takes less time than a call of
    `nettrim.solve_layer` for every point. Every point carries its own certificate.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features), or Gram
        Inputs of the layer; a column of ones makes the bias.
    Y : array_like of shape (n_samples, n_outputs)
        Outputs to reproduce, as in `nettrim.solve_layer`; left out with a `Gram`.
    epsilons : array_like of shape (n_points,)
        Positive Frobenius norms of the error, in the units of `Y` and in any order.
    activation : {"relu", "linear"}, optional
        Default "relu"; "linear" for a `Gram`.
    upper : array_like broadcastable to the shape of Y, optional
        Upper bound where inactive; default 0.
    active : array_like of bool, of the shape of Y, optional
        Where the output must be reproduced, and may have any sign; default where Y is positive.
    tol : float, default 1e-6
        As in `nettrim.solve_layer`, for every point.
    max_iter : int, optional
        Of every point; default 50,000.
    time_limit : float, optional
        Seconds for all points together; default none.
    n_threads : int, optional
        Default: every processor this process may use.
    callback : callable, optional
        Called with a `LayerProgress` at every certificate; a true return stops the trace.
    dtype : {numpy.float64, numpy.float32}, default numpy.float64
    ridge, pull : float, default 0
    original : array_like of shape (n_features, n_outputs), optional
        What draws weights to those they were, as in `nettrim.solve_layer`.
    costs : array_like broadcastable to the shape of the weights, optional
        What weights cost, as there.

    Returns
    -------
    LayerTrace
        In ascending order of epsilon, whatever the order of `epsilons`. An interrupt or the time
        limit leaves the points that were finished and the one it met, which says so.

    Raises
    ------
    ValueError, TypeError
        As `nettrim.solve_layer`, and if `epsilons` is empty, not one-dimensional or not positive.

    References
    ----------
    Net-Trim: Convex Pruning of Deep Neural Networks with Performance Guarantee (NIPS 2017),
    program (P), for a family of epsilons.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((120, 20))
    >>> Y = np.maximum(X @ rng.standard_normal((20, 6)), 0)
    >>> curve = nettrim.trace(X, Y, epsilons=np.linalg.norm(Y) * np.geomspace(0.01, 0.5, 10))
    >>> len(curve), curve.converged, bool(np.all(np.diff(curve.sparsities) >= 0))
    (10, True, True)
    """
    inputs, outputs, activation = pose(X, Y, activation)
    data = LayerData.of(
        inputs,
        outputs,
        activation,
        upper,
        active,
        check_precision(dtype),
        ridge=ridge,
        pull=pull,
        original=original,
        costs=costs,
    )
    fields = core.trace_layer(
        data.X,
        data.Y,
        upper=data.upper,
        active=data.active,
        relu=data.relu,
        epsilons=sort_descending(epsilons),
        costs=data.costs,
        tol=check_number(tol, "tol", above=0.0),
        **vars(Limits.of(max_iter, time_limit, n_threads, callback, LayerProgress)),
        **data.drawing,
    )
    solutions = [data.with_dead_features(LayerSolution(**f)) for f in fields]
    if isinstance(X, Gram):
        solutions = [in_sums(solution, inputs) for solution in solutions]
    return LayerTrace(tuple(reversed(solutions)))


def sort_descending(epsilons: ArrayLike) -> list[float]:
    """Check radii of the error ball, and return them with the largest first."""
    array = check_finite(epsilons, "epsilons", ndim=1)
    if not (array > 0).all():
        raise ValueError(f"epsilons must be positive, got {array.min():g}")
    return [float(e) for e in np.sort(array)[::-1]]
