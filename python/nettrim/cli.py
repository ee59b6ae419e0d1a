"""The command ``nettrim``."""

from __future__ import annotations

import logging
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import finite_array, read_npz, write_npz
from ._options import parse
from ._table import WEIGHTS, Column, table, weights_of, weights_of_all
from .accuracy import Accuracy, Labels, checked_labels
from .errors import ConvergenceWarning
from .files import check_output, load, recipe_in, save
from .hull import branch_hull
from .network import Network
from .recipe import summary
from .report import TrimResult
from .trim import trim
from .view import as_view

TRIM_OPTIONS = (  # passed on as they are, if they were given
    "epsilon",
    "sparsity",
    "pattern",
    "share",
    "min_density",
    "scheme",
    "gamma",
    "slack",
    "kappa",
    "layers",
    "tol",
    "max_iter",
    "time_limit",
    "checkpoint",
    "max_patches",
    "seed",
)
HULL_OPTIONS = ("which", "regularizer", "slack", "zero", "solver", "tol")
HULL_ARRAYS = ("h", "m", "w", "x", "xi", "p", "q")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the return value is the exit status."""
    options = parse(arguments)
    try:
        with warnings.catch_warnings(), _log(options.verbose):
            warnings.simplefilter("ignore", ConvergenceWarning)  # the table and the status tell it
            return COMMANDS[options.command](options)
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"nettrim: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


@contextmanager
def _log(verbose: int) -> Iterator[None]:
    """Let the log speak on stderr: of layers if asked once, of certificates if asked twice."""
    if not verbose:
        yield
        return
    logger, handler = logging.getLogger(__package__), logging.StreamHandler()
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
    from .demo import run_demo

    results = run_demo(
        options.output,
        epsilon=options.epsilon,
        n_threads=options.threads,
        progress=_progress(options),
    )
    return 0 if all(result.converged for result in results.values()) else 1


def _trim(options: Namespace) -> int:
    check_output(options.network, options.output)
    model, samples = load(options.network), _samples(options.calibration)
    held_out = None if options.held_out is None else _samples(options.held_out)
    labelled = samples if held_out is None else held_out
    labels = None if options.labels is None else _labels(options.labels, len(labelled))
    result = trim(
        model,
        samples,
        held_out=held_out,
        n_threads=options.threads,
        progress=_progress(options),
        **_given(options, TRIM_OPTIONS),
    )
    save(result.model, options.output, result.recipe)
    print(result)
    accuracy = None if labels is None else result.accuracy(labelled, labels)
    if accuracy is not None:
        print(accuracy)
    _show(result, accuracy, options)
    if result.interrupted:
        return 130
    return 0 if result.converged else 1


def _show(result: TrimResult[Any], accuracy: Accuracy | None, options: Namespace) -> None:
    """Write what was asked for beside the model."""
    if options.plot is not None:
        result.plot(options.plot)
    if options.report is not None:
        result.report(options.report, accuracy)
    if options.export is not None:
        print(f"\n{result.export(options.export)}")


def _given(options: Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return the options that were given: what is left out gets its default where it is used."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _progress(options: Namespace) -> bool:
    return not (options.quiet or options.verbose)


def _inspect(options: Namespace) -> int:
    model = load(options.network)
    print(model if isinstance(model, Network) else _layers(model))
    recipe = recipe_in(options.network)
    if recipe is not None:
        print(f"\n{summary(recipe)}")
    return 0


def _layers(model: Any) -> str:
    """Lay out the prunable layers of any model."""
    layers = as_view(model).prunable_layers()
    rows = [[layer.name, *weights_of(layer)] for layer in layers]
    return table([Column("layer", "<"), *WEIGHTS], rows, ["network", *weights_of_all(layers)])


def _branch_hull(options: Namespace) -> int:
    data = read_npz(options.data)
    missing = {"y", "B", "C", "signs"} - data.keys()
    if missing:
        raise ValueError(f"{options.data!r} lacks {', '.join(sorted(missing))}")
    solution = branch_hull(
        data["y"],
        data["B"],
        data["C"],
        signs=data["signs"],
        **_given(options, HULL_OPTIONS),
        n_threads=options.threads,
    )
    write_npz(options.output, {name: getattr(solution, name) for name in HULL_ARRAYS})
    print(solution)
    if options.explain:
        print(solution.explain(options.explain))
    return 0 if solution.converged else 1


def _samples(path: str) -> NDArray[Any]:
    """Read samples from an ``.npy`` file."""
    array = _array(path, "samples")
    finite_array(array, path)  # the message shall name the file
    return array


def _labels(path: str, n_samples: int) -> Labels:
    """Read one label for each sample from an ``.npy`` file."""
    return checked_labels(_array(path, "labels"), n_samples)


def _array(path: str, content: str) -> NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{path!r} is not an .npy file: {error}") from None
    if not hasattr(array, "dtype"):  # the contents of an .npz file
        raise ValueError(f"{path!r} holds several arrays; {content} come in an .npy file")
    return np.asarray(array)


COMMANDS = {"demo": _demo, "trim": _trim, "inspect": _inspect, "branch-hull": _branch_hull}

if __name__ == "__main__":
    sys.exit(main())
