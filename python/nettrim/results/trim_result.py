"""What `nettrim.trim` hands back: the trimmed model and the account of every layer."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from numpy.typing import ArrayLike

from ..base.errors import LARGE_ERROR
from ..base.storage import path_of
from ..base.table import Column, share, shortened, table
from ..models.model_view import Untouched, layers_named
from .accuracy import Accuracy, accuracy

if TYPE_CHECKING:
    from .export import Export

Model = TypeVar("Model")

KEPT = "kept"
BUDGET = "budget"
UNREACHED = "not reached"
ROUNDING = 1e-4  # of the framework, above which it is told beside a bound


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
    bound : float
        Proved: ``discrepancy`` cannot exceed it in exact arithmetic (mathematics in `nettrim.trimming.bounds`).
    prior_bound : float
        Promised before anything was solved, by Theorem 1 or 2 of Net-Trim; mostly very loose.
    status : str
        "optimal", or why not: "max_iter", "time_limit", "numerical". "budget" for a layer that was
        given a number of weights, "kept" for one that was not to be pruned, "not reached" for one an
        interrupted run left as it was.
    epsilon : float or None
        Radius of the program's ball. None for a layer that was not solved for an error, like the next
        four.
    residual, violation : float or None
        Feasibility in the layer's program: distance to the original output on active entries, and
        the largest excess over the upper bound on the others, relative to the largest output
        (without a bias that stays as it is: what the program asks for).
    gap : float or None
        How far the l1 norm can at most be from the optimum, relatively. Without meaning, and
        sometimes negative, if the answer is not feasible.
    iterations : int or None
    seconds : float or None
        Time of the solve; of the earlier run's solve if the layer came from a checkpoint. None for a
        layer that was not pruned.
    held_out_discrepancy : float or None
        ``discrepancy`` on samples the solver has not seen, if some were given.
    active_rows : int or None
        On how many different rows of its program an output is active, the median over all outputs: so
        many equations there are for the inputs' weights (and a bias). None for a layer that was not
        pruned.
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
    iterations: int | None = None
    seconds: float | None = None
    held_out_discrepancy: float | None = None
    active_rows: int | None = None
    history: tuple[tuple[float, float], ...] = field(default=(), repr=False, compare=False)

    @property
    def pruned(self) -> bool:
        """Whether the layer was solved for."""
        return self.status not in (KEPT, UNREACHED)

    @property
    def converged(self) -> bool:
        """Whether nothing is left to be desired: optimal, within its budget, or not to be pruned."""
        return self.status in ("optimal", BUDGET, KEPT)

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
        ``discrepancy`` as the framework computes both models in their own precision, on the calibration
        samples. None if the model's view cannot tell.
    runtime_error : float or None
        How far the framework's results are from those of exact arithmetic, for the original or the
        trimmed model, whichever is farther: ``runtime_discrepancy`` and ``discrepancy`` cannot differ
        by more than twice this.
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


@dataclass(frozen=True, repr=False)
class TrimResult(Generic[Model]):
    """The trimmed model and what is known about it; ``print`` shows a table.

    Attributes
    ----------
    model : Network or whatever type was given
        The trimmed model.
    original : Network or whatever type was given
        The model that was given, untouched.
    layers : tuple of LayerReport
        One for each prunable layer.
    scheme : {"parallel", "cascade"}
    n_samples : int
        Number of calibration samples.
    discrepancy, bound : float
        Of the network's output, measured and proved, relative to the norm of the original output
        on the calibration samples; of several outputs the root of the mean square.
    held_out_discrepancy : float or None
        The same, measured on held-out samples.
    interrupted : bool
        True if Ctrl-C stopped the run: the layers solved until then are trimmed, the others are as
        they were.
    outputs : tuple of OutputReport
        One for each output of the model that counts.
    untouched : tuple of Untouched
        Every weight of two or more dimensions that no layer in ``layers`` holds, and why.
    seconds : float
        What the run took, all in all.
    stages : dict of str to float
        Seconds of it that belong to no layer's solve: "sharing" a budget among layers, "tuning" their
        regularisation, and "signals": running the model, posing programs, measuring.
    recipe : dict
        Plain values: every argument with its default filled in, hashes of the model's weights and of
        the data, versions and the date; what it takes to get the result again.
    """

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

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the weights of every layer before and after.

        Parameters
        ----------
        path : str or path-like
            File to write; the suffix chooses the format (.png, .pdf, .svg).

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from .plot import draw

        names = [layer.name for layer in self.layers]
        versions = {"before": self.original, "after": self.model}
        draw(path, {title: layers_named(model, names) for title, model in versions.items()})

    def accuracy(self, X: Any, labels: ArrayLike) -> Accuracy:
        """Measure how often the original and the trimmed model are right.

        Parameters
        ----------
        X : array_like of shape (n_samples, ...), or what `nettrim.trim` takes for the model
            Samples, preferably ones that neither training nor trimming has seen.
        labels : array_like of shape (n_samples,)
            The right answers. Of a classifier of scikit-learn, in its own names of classes; of any
            other model, numbers of the output that ought to be largest, from 0. Of a model with a
            single output 0 or 1: whether it ought to be above 0, or above .5 if all outputs of the
            original model lie between 0 and 1 (as they do behind a sigmoid).

        Returns
        -------
        Accuracy
            A named tuple: ``before``, ``after``, ``n_samples``.

        Raises
        ------
        TypeError, ValueError
            If ``labels`` are not one for each sample, or none that the model knows; or if the model
            is no classifier.
        """
        return accuracy(self.original, self.model, X, labels)

    def report(self, path: str | os.PathLike[str], accuracy: Accuracy | None = None) -> None:
        """Write a page that shows what happened, to look at and to pass on.

        It is one HTML file that needs nothing else: headline figures, every layer's weights before
        and after, errors measured and proved, the way of every solve, and the recipe.

        Parameters
        ----------
        path : str or path-like
            File to write, whole or not at all.
        accuracy : Accuracy, optional
            What `accuracy` returned, to be shown as well.
        """
        from .html import write

        if not isinstance(accuracy, Accuracy | None):
            raise TypeError(
                f"accuracy must be what TrimResult.accuracy returned, got {type(accuracy).__name__}"
            )
        write(path_of(path, "path"), self, accuracy)

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        formats: Iterable[str] | None = None,
        input_shape: Sequence[int] | None = None,
    ) -> Export:
        """Write the trimmed model as files to ship.

        ``"dense"``
            ``model.npz``, ``model.onnx`` or ``model.pt`` (a ``state_dict``): with its zeros, for
            whatever loads the original.
        ``"sparse"``
            ``sparse.npz``: weights in CSR. `Network.load` reads it, or `nettrim.load_weights` for a model
            of another framework.
        ``"bitmask"``
            ``bitmask.npz``: the same with a bit for every weight, smaller unless nearly all are zero.
        ``"shrunk"``
            ``shrunk.npz``: `nettrim.shrink` of the network, with smaller shapes.
        ``"header"``
            ``network.h``: the shrunk network in C99 for small devices, in float, without library and
            heap. It defines ``static void nettrim_predict(const float *input, float *output)`` for
            one sample.
        ``"recipe"``
            ``recipe.json``: how to get the result again, and hashes to know that one has.

        A perceptron of scikit-learn is written as the network it computes up to its logits. PyTorch and
        ONNX models have neither ``"shrunk"`` nor ``"header"``.

        Parameters
        ----------
        folder : str or path-like
            Created if it is missing. Files of the same names are replaced, each when the new one is
            complete.
        formats : iterable of str, optional
            Default all that the model has; the answer says which it has not.
        input_shape : sequence of int, optional
            Of a sample, for ``"header"``; default that of the calibration data.

        Returns
        -------
        Export
            ``print`` shows a table of the files and of what they save.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it must be, or the model has no file of a format asked for.

        Examples
        --------
        >>> import nettrim, numpy as np, tempfile
        >>> rng = np.random.default_rng(0)
        >>> net = nettrim.Network([nettrim.Dense(rng.standard_normal((20, 30)))])
        >>> X = rng.standard_normal((200, 20))
        >>> result = nettrim.trim(net, X, epsilon=0.5, progress=False)
        >>> folder = tempfile.mkdtemp()
        >>> shipped = result.export(folder, formats=["sparse", "header"])
        >>> [file.name for file in shipped.files], shipped.files[0].ratio > 1
        (['sparse.npz', 'network.h'], True)
        >>> again = nettrim.Network.load(f"{folder}/sparse.npz")
        >>> bool((again.layers[0].weights == result.model.layers[0].weights).all())
        True
        """
        from .export import write

        return write(self, folder, formats, input_shape)

    def __repr__(self) -> str:
        """Return the outcome in one line."""
        return (
            f"TrimResult({self.scheme}, {len(self.layers)} layers, sparsity {self.sparsity:.3f}, "
            f"discrepancy {self.discrepancy:.4g}, bound {self.bound:.4g})"
        )

    def __str__(self) -> str:
        """Return the table."""
        held_out = self.held_out_discrepancy is not None
        names = shortened([layer.name for layer in self.layers])
        rows = [_row(*pair, held_out) for pair in zip(names, self.layers, strict=True)]
        rows += [_stage(name, seconds, held_out) for name, seconds in self.stages.items()]
        if len(self.outputs) > 1:
            names = shortened([output.name for output in self.outputs])
            rows += [_output(*pair, held_out) for pair in zip(names, self.outputs, strict=True)]
        grid = table(_columns(held_out), rows, _total(self, held_out))
        return "\n".join([_title(self), grid, *_notes(self), *untouched_lines(self.untouched)])


def _title(result: TrimResult[Any]) -> str:
    """Say in one line what came out."""
    return (
        f"{result.scheme} on {result.n_samples:,} calibration samples: {zeros(result)} are zero, "
        f"error of the network {percent_of(result.discrepancy)}"
    )


def zeros(result: TrimResult[Any]) -> str:
    """Return the share of zeros in words: of the whole model, and beside it of what was handled."""
    if not result.untouched:
        return f"{result.sparsity:.1%} of the weights"
    return f"{result.model_sparsity:.1%} of all weights ({result.sparsity:.1%} of those handled)"


def _columns(held_out: bool) -> list[Column]:
    headings = ["before", "after", "kept", "epsilon", "error", "bound", "gap", "status", "time"]
    if held_out:
        headings.insert(5, "unseen")
    return [Column("layer", "<"), Column("shape"), *map(Column, headings)]


def _row(name: str, layer: LayerReport, held_out: bool) -> list[str]:
    return [
        name,
        f"{layer.shape[0]}x{layer.shape[1]}",
        f"{layer.nonzeros_before:,}",
        f"{layer.nonzeros_after:,}",
        share(layer.nonzeros_after, layer.nonzeros_before),
        percent_of(layer.epsilon),
        percent_of(layer.discrepancy),
        *([percent_of(layer.held_out_discrepancy)] if held_out else []),
        percent_of(layer.bound),
        gap_of(layer.gap),
        layer.status if layer.converged else f"{layer.status}!",
        "" if layer.seconds is None else time_of(layer.seconds),
    ]


def _total(result: TrimResult[Any], held_out: bool) -> list[str]:
    return [
        "network",
        "",
        f"{result.nonzeros_before:,}",
        f"{result.nonzeros_after:,}",
        share(result.nonzeros_after, result.nonzeros_before),
        "",
        percent_of(result.discrepancy),
        *([percent_of(result.held_out_discrepancy)] if held_out else []),
        percent_of(result.bound),
        "",
        "",
        time_of(result.seconds),
    ]


def _stage(name: str, seconds: float, held_out: bool) -> list[str]:
    return [name, *[""] * (len(_columns(held_out)) - 2), time_of(seconds)]


def _output(name: str, output: OutputReport, held_out: bool) -> list[str]:
    errors = [percent_of(output.discrepancy), percent_of(output.bound)]
    if held_out:
        errors.insert(1, percent_of(output.held_out_discrepancy))
    return [name, "output", *[""] * 4, *errors, *[""] * 3]


def untouched_lines(untouched: Sequence[Untouched]) -> list[str]:
    """Name the weights that are left alone, none where there are none."""
    if not untouched:
        return []
    headings = [
        Column("left alone", "<"),
        Column("shape"),
        Column("nonzeros"),
        Column("because", "<"),
    ]
    rows = [
        [name, "x".join(map(str, weight.shape)), f"{weight.nonzeros:,}", weight.reason]
        for name, weight in zip(shortened([w.name for w in untouched]), untouched, strict=True)
    ]
    total = ["together", "", f"{sum(weight.nonzeros for weight in untouched):,}", ""]
    return ["", table(headings, rows, total)]


def _notes(result: TrimResult[Any]) -> list[str]:
    """Say what a reader must not overlook."""
    notes = []
    if any(layer.pruned and not layer.converged for layer in result.layers):
        notes.append("! not solved to the tolerance: few nonzeros there may be false sparsity")
    if result.interrupted:
        notes.append("! interrupted: layers not reached are as they were")
    notes += [f"! {head}: {text}" for head, text in cautions(result)]
    if not math.isfinite(result.bound):
        notes.append("- not known: nothing bounds how far some step of the model can stretch")
    return notes


def cautions(result: TrimResult[Any]) -> list[tuple[str, str]]:
    """Return what makes an answer worth little although it is proved: heads and texts."""
    found = []
    few = [layer for layer in result.layers if layer.few_rows]
    if few:
        told = ", ".join(
            f"{layer.name} {layer.active_rows:,} of {layer.shape[0]:,}" for layer in few
        )
        found.append(("sparse without meaning", f"fewer different active rows than inputs: {told}"))
    if result.discrepancy > LARGE_ERROR:
        text = f"its output moved by {percent_of(result.discrepancy)}"
        found.append(("the network may do nothing of what it did", text))
    rounding = [output for output in result.outputs if (output.runtime_error or 0) > ROUNDING]
    return found + [_rounding(output) for output in rounding]


def _rounding(output: OutputReport) -> tuple[str, str]:
    """Say what the framework's arithmetic adds to what was measured and proved in exact one."""
    how = "computes in another way" if output.runtime_differs else "rounds"
    text = (
        f"{output.name!r} is up to {percent_of(output.runtime_error)} off exact arithmetic, of which "
        f"error and bound speak; the error there is {percent_of(output.runtime_discrepancy)}"
    )
    return f"the framework {how}", text


def percent_of(value: float | None) -> str:
    """Return three digits of a percentage; powers of ten where it is very large or small."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "-"
    percent = 100 * value
    if percent != 0 and not 0.005 <= percent < 9999.5:
        return f"{percent:.0e}%"
    return f"{percent:.{2 if percent < 9.995 else 1 if percent < 99.95 else 0}f}%"


def gap_of(gap: float | None) -> str:
    """Return one digit of a gap."""
    return "" if gap is None else f"{gap:.0e}".replace("e-0", "e-")


def time_of(seconds: float) -> str:
    """Return seconds with three digits and at most two decimals; less than that in milliseconds."""
    if 0 < seconds < 0.00995:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.{2 if seconds < 9.995 else 1 if seconds < 99.95 else 0}f} s"
