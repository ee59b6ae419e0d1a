"""The command ``nettrim``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

import numpy as np

from ._arrays import Array, finite_array, read_npz, write_npz
from .errors import ConvergenceWarning
from .hull import branch_hull
from .network import Network
from .trim import trim

DEMO = """\
example:
  nettrim demo -o weights.png
"""
TRIM = """\
example:
  nettrim trim net.npz --calibration X.npy --epsilon 0.05 -o trimmed.npz

NET.npz is a file of nettrim.Network.save, or holds the arrays W1, b1, W2, b2, ... of dense layers
(weights n_features x n_outputs; ReLU after each layer but the last). X.npy has samples in rows.

exit status: 0 all layers solved to the tolerance, 1 not all (the table says which), 2 bad input,
130 interrupted (layers finished until then are trimmed and written).
"""
INSPECT = """\
example:
  nettrim inspect net.npz
"""
BRANCH_HULL = """\
example:
  nettrim branch-hull data.npz --slack 0.1 -o signals.npz

DATA.npz holds y (products), B and C (a row for each product) and signs (of B h, or one for all).
OUT.npz gets h, m, w, x, xi and the multipliers p, q that prove the answer.

exit status: 0 proved to the tolerance, 1 not, 2 bad input or signs that contradict each other.
"""
HULL_ARRAYS = ("h", "m", "w", "x", "xi", "p", "q")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the return value is the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the table and the status tell it
            status: int = options.command(options)
            return status
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"nettrim: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nettrim", description="Make trained ReLU networks sparse, with certificates."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_trim(commands)
    _add_inspect(commands)
    _add_branch_hull(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "demo", "trim an embedded network that reads handwritten digits", DEMO)
    parser.add_argument(
        "-o", "--output", default="nettrim-demo.png", metavar="PNG", help="picture of the weights"
    )
    _add_common(parser, epsilon=0.05)
    parser.set_defaults(command=_demo)


def _add_trim(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "trim", "trim a network from a file", TRIM)
    add = parser.add_argument
    add("network", metavar="NET.npz")
    add(
        "-c",
        "--calibration",
        required=True,
        metavar="X.npy",
        help="samples the outputs of which are kept",
    )
    add("-o", "--output", required=True, metavar="OUT.npz", help="the trimmed network")
    add("--scheme", choices=["cascade", "parallel"], default="cascade")
    add(
        "--gamma",
        type=float,
        default=1.1,
        help="inflation of epsilon^2 in the cascade (default 1.1)",
    )
    add(
        "--slack",
        choices=["positive", "paper"],
        default="positive",
        help="upper bounds in the cascade",
    )
    add(
        "--kappa",
        type=float,
        default=1.0,
        help="factor on the last epsilon in the cascade (default 1)",
    )
    add("--layers", type=_layers, metavar="L,L,...", help="names or positions (from 0) to prune")
    add("--held-out", metavar="X.npy", help="samples to measure the error on as well")
    add("--tol", type=float, default=1e-4, help="relative tolerance of every layer (default 1e-4)")
    add("--max-iter", type=int, metavar="N", help="iterations for each layer")
    add("--time-limit", type=float, metavar="S", help="seconds for each layer")
    add("--checkpoint", metavar="DIR", help="keep finished layers here and resume from them")
    add("--plot", metavar="PNG", help="picture of the weights before and after")
    _add_common(parser)
    parser.set_defaults(command=_trim)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "inspect", "show the layers of a network in a file", INSPECT)
    parser.add_argument("network", metavar="NET.npz")
    parser.set_defaults(command=_inspect)


def _add_branch_hull(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "recover two signals from their product and the signs of one"
    parser = _add(commands, "branch-hull", about, BRANCH_HULL)
    add = parser.add_argument
    add("data", metavar="DATA.npz")
    add("-o", "--output", required=True, metavar="OUT.npz")
    add("--which", choices=["w", "x"], default="w", help="the signal whose signs are known")
    add("--regularizer", choices=["l1", "l2"], default="l1")
    add("--slack", type=float, metavar="PRICE", help="price of errors (default: none allowed)")
    add("--zero", choices=["drop", "quadrant", "equality"], default="drop", help="what y = 0 says")
    add("--solver", choices=["auto", "newton", "admm", "lp"], default="auto")
    add("--tol", type=float, default=1e-6, help="relative gap (default 1e-6)")
    add("--explain", type=int, default=0, metavar="N", help="list the N heaviest measurements")
    add("--threads", type=int, metavar="N", help="default: all processors")
    parser.set_defaults(command=_branch_hull)


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    about: str,
    example: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_common(parser: argparse.ArgumentParser, epsilon: float | None = None) -> None:
    default = "" if epsilon is None else f" (default {epsilon:g})"
    parser.add_argument(
        "-e",
        "--epsilon",
        type=float,
        default=epsilon,
        required=epsilon is None,
        help=f"relative error allowed, for example 0.05{default}",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: all processors")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")


def _demo(options: argparse.Namespace) -> int:
    from .demo import run_demo

    results = run_demo(
        options.output,
        epsilon=options.epsilon,
        n_threads=options.threads,
        progress=not options.quiet,
    )
    return 0 if all(result.converged for result in results.values()) else 1


def _trim(options: argparse.Namespace) -> int:
    result = trim(
        Network.load(options.network),
        _samples(options.calibration),
        epsilon=options.epsilon,
        scheme=options.scheme,
        gamma=options.gamma,
        slack=options.slack,
        kappa=options.kappa,
        layers=options.layers,
        held_out=None if options.held_out is None else _samples(options.held_out),
        tol=options.tol,
        max_iter=options.max_iter,
        time_limit=options.time_limit,
        n_threads=options.threads,
        checkpoint=options.checkpoint,
        progress=not options.quiet,
    )
    result.model.save(options.output)
    print(result)
    if options.plot is not None:
        result.plot(options.plot)
    if result.interrupted:
        return 130
    return 0 if result.converged else 1


def _inspect(options: argparse.Namespace) -> int:
    print(Network.load(options.network))
    return 0


def _branch_hull(options: argparse.Namespace) -> int:
    data = read_npz(options.data)
    missing = {"y", "B", "C", "signs"} - data.keys()
    if missing:
        raise ValueError(f"{options.data!r} lacks {', '.join(sorted(missing))}")
    solution = branch_hull(
        data["y"],
        data["B"],
        data["C"],
        signs=data["signs"],
        which=options.which,
        regularizer=options.regularizer,
        slack=options.slack,
        zero=options.zero,
        solver=options.solver,
        tol=options.tol,
        n_threads=options.threads,
    )
    write_npz(options.output, {name: getattr(solution, name) for name in HULL_ARRAYS})
    print(solution)
    if options.explain:
        print(solution.explain(options.explain))
    return 0 if solution.converged else 1


def _samples(path: str | os.PathLike[str]) -> Array:
    """Read samples from an ``.npy`` file."""
    name = os.fspath(path)
    try:
        array = np.load(name, allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{name!r} is not an .npy file: {error}") from None
    if not hasattr(array, "dtype"):  # the contents of an .npz file
        raise ValueError(f"{name!r} holds several arrays; samples come in an .npy file")
    return finite_array(array, name).astype(np.float64)


def _layers(text: str) -> list[int | str]:
    """Read "0,2" or "dense1,dense3"."""
    return [int(part) if part.lstrip("-").isdigit() else part for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
