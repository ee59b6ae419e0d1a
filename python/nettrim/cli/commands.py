"""The command ``nettrim``."""

from __future__ import annotations

import logging
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from ..base.arguments import check_number
from ..base.arrays import check_finite
from ..base.errors import (
    CalibrationWarning,
    ConvergenceWarning,
    HeldOutWarning,
    LargeErrorWarning,
    PromiseWarning,
    RecoveryWarning,
    RuntimeMismatchWarning,
)
from ..base.process import Interrupts, print_line, report_problem, warnings_in_lines
from ..base.storage import read_npy, read_npz, write_npz
from ..base.table import TableColumn, format_table, shorten_names
from ..hull import branch_hull
from ..models.io import check_output, check_places, load, read_recipe, save
from ..models.model_view import ModelView, as_view
from ..models.network import Network
from ..models.summary import WEIGHTS, format_all_weights, format_weights
from ..promise.decisions import check_labels
from ..results.accuracy import Accuracy, compare_accuracy
from ..results.html import check_page
from ..results.plot import check_format
from ..results.recipe import format_summary
from ..results.text import untouched_lines
from ..results.trim_result import TrimResult
from ..trimming.trim import trim
from .options import parse

TRIM_OPTIONS = (  # passed on as they are, if they were given
    "epsilon",
    "flips",
    "misses",
    "drop",
    "error",
    "quantile",
    "confidence",
    "path",
    "sparsity",
    "pattern",
    "share",
    "min_density",
    "size",
    "operations",
    "min_width",
    "multiple_of",
    "scheme",
    "gamma",
    "slack",
    "kappa",
    "regularise",
    "reweighted",
    "layers",
    "skip",
    "outputs",
    "tol",
    "max_iter",
    "time_limit",
    "checkpoint",
    "max_patches",
    "seed",
)
SHOWN = (
    CalibrationWarning,
    HeldOutWarning,
    LargeErrorWarning,
    RecoveryWarning,
    RuntimeMismatchWarning,
)
HULL_OPTIONS = ("which", "regularizer", "slack", "zero", "solver", "tol")
INTERRUPTED = 130  # by Ctrl-C; a signal that was taken like it has a status of its own
TOO_FAR, UNPROMISED = 3, 4
HULL_DATA = {"y", "B", "C", "signs"}
HULL_ARRAYS = ("h", "m", "w", "x", "xi", "p", "q")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the return value is the exit status."""
    options = parse(arguments)
    interrupts = Interrupts()
    try:
        with interrupts.taken(), warnings_in_lines(), _log(options.verbose):
            warnings.simplefilter("ignore", ConvergenceWarning)  # the table and the status tell it
            warnings.simplefilter("ignore", PromiseWarning)  # and here as well
            for category in SHOWN:
                warnings.simplefilter("always", category)
            status = COMMANDS[options.command](options)
    except (ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        report_problem("error", error)
        return 2
    except KeyboardInterrupt:
        return interrupts.status
    return interrupts.status if status == INTERRUPTED else status


@contextmanager
def _log(verbose: int) -> Iterator[None]:
    """Let the log speak on stderr: of layers if asked once, of certificates if asked twice."""
    if not verbose:
        yield
        return
    logger, handler = logging.getLogger("nettrim"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def _demo(options: Namespace) -> int:
    from ..demo import run_demo

    check_places({}, {"--output": options.output}, {})
    results = run_demo(
        options.output,
        epsilon=options.epsilon,
        n_threads=options.threads,
        progress=_progress(options),
    )
    return 0 if all(result.converged for result in results.values()) else 1


def _trim(options: Namespace) -> int:
    check_number(options.max_error, "--max-error", least=0.0)
    _check_places(options)
    model = load(options.network)
    samples = _load_samples(options.calibration, model)
    held_out = None if options.held_out is None else _load_samples(options.held_out, model)
    labelled = samples if held_out is None else held_out
    labels = None
    if options.labels is not None:
        labels = read_npy(options.labels, "labels")
        if not _promises_right_answers(options):  # there they are checked with all else
            labels = check_labels(labels, _count_samples(labelled))
            compare_accuracy(model, model, labelled, labels)  # refuses what no output stands for
    result = trim(
        model,
        samples,
        held_out=held_out,
        n_threads=options.threads,
        progress=_progress(options),
        **_given_options(options, TRIM_OPTIONS),
        **_renamed_options(options, labels),
    )
    print_line(result)  # whatever becomes of the files
    save(result.model, options.output, result.recipe)
    accuracy = None if labels is None else result.accuracy(labelled, labels)
    if accuracy is not None:
        print_line(accuracy)
    _show(result, accuracy, options)
    if result.interrupted:
        return INTERRUPTED
    if result.promise is not None and not result.promise.kept:
        return UNPROMISED
    if result.discrepancy > options.max_error:
        return TOO_FAR
    return 0 if result.converged else 1


def _promises_right_answers(options: Namespace) -> bool:
    return options.misses is not None or options.drop is not None


def _renamed_options(options: Namespace, labels: NDArray[Any] | None) -> dict[str, Any]:
    """Return what `trim` knows by other names, or has no use for unless a promise needs it."""
    named: dict[str, Any] = (
        {} if options.network_error is None else {"network": options.network_error}
    )
    if labels is not None and _promises_right_answers(options):
        named["labels"] = labels
    return named


def _check_places(options: Namespace) -> None:
    """Refuse outputs that cannot be written, before there is anything to write."""
    check_places(
        {
            "MODEL": options.network,
            "--calibration": options.calibration,
            "--held-out": options.held_out,
            "--labels": options.labels,
        },
        {"--output": options.output, "--plot": options.plot, "--report": options.report},
        {"--export": options.export, "--checkpoint": options.checkpoint},
    )
    check_output(options.network, options.output)
    if options.plot is not None:
        check_format(options.plot)
    if options.report is not None:
        check_page(options.report)


def _show(result: TrimResult[Any], accuracy: Accuracy | None, options: Namespace) -> None:
    """Write what was asked for beside the model."""
    if options.plot is not None:
        result.plot(options.plot)
    if options.report is not None:
        result.report(options.report, accuracy)
    if options.export is not None:
        print_line(f"\n{result.export(options.export)}")


def _given_options(options: Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return the options that were given: what is left out gets its default where it is used."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _progress(options: Namespace) -> bool:
    return not (options.quiet or options.verbose)


def _inspect(options: Namespace) -> int:
    model = load(options.network)
    view = as_view(model)
    print_line(model if isinstance(model, Network) else _layers(view))
    for line in untouched_lines(view.untouched()):
        print_line(line)
    recipe = read_recipe(options.network)
    if recipe is not None:
        print_line(f"\n{_summary(recipe, options.network)}")
    return 0


def _summary(recipe: dict[str, Any], path: str) -> str:
    try:
        return format_summary(recipe)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the recipe in {path!r} is damaged: {error!r}") from None


def _layers(view: ModelView) -> str:
    """Lay out the prunable layers of any model."""
    layers = view.prunable_layers()
    names = shorten_names([layer.name for layer in layers])
    rows = [[name, *format_weights(layer)] for name, layer in zip(names, layers, strict=True)]
    return format_table(
        [TableColumn("layer", "<"), *WEIGHTS], rows, ["network", *format_all_weights(layers)]
    )


def _branch_hull(options: Namespace) -> int:
    check_places({"DATA": options.data}, {"--output": options.output}, {})
    data = read_npz(options.data, HULL_DATA.__contains__)
    missing = HULL_DATA - data.keys()
    if missing:
        raise ValueError(f"{options.data!r} lacks {', '.join(sorted(missing))}")
    solution = branch_hull(
        data["y"],
        data["B"],
        data["C"],
        signs=data["signs"],
        **_given_options(options, HULL_OPTIONS),
        n_threads=options.threads,
    )
    write_npz(options.output, {name: getattr(solution, name) for name in HULL_ARRAYS})
    print_line(solution)
    if options.explain:
        print_line(solution.explain(options.explain))
    return 0 if solution.converged else 1


def _load_samples(path: str, model: Any) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """Read samples from an ``.npy`` file, or those of a model's several inputs from an ``.npz``."""
    if not isinstance(model, Network) and zipfile.is_zipfile(path):
        return {name: _load_finite(array, path) for name, array in read_npz(path).items()}
    return _load_finite(read_npy(path, "samples"), path)


def _load_finite(array: NDArray[Any], path: str) -> NDArray[Any]:
    check_finite(array, path)  # the message shall name the file
    return array


def _count_samples(samples: NDArray[Any] | dict[str, NDArray[Any]]) -> int:
    """Return the number of samples; what has another one is refused where the model is known."""
    arrays = samples.values() if isinstance(samples, dict) else [samples]
    return max((len(array) for array in arrays if array.ndim), default=0)


COMMANDS = {"demo": _demo, "trim": _trim, "inspect": _inspect, "branch-hull": _branch_hull}
