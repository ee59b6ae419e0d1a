"""What can be said on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from ..base.errors import LARGE_ERROR
from .parser import CommandParser

DEMO = """\
example:
  nettrim demo -o weights.png
"""
TRIM = """\
example:
  nettrim trim net.npz --calibration X.npy --epsilon 0.05 -o trimmed.npz --report trim.html
  nettrim trim model.onnx --calibration X.npy --epsilon 0.05 -o small.onnx
  nettrim trim net.npz --calibration X.npy --sparsity 0.5 -o small.npz
  nettrim trim net.npz --calibration X.npy --size 0.5 --multiple-of 1 -o small.npz
  nettrim trim net.npz --calibration X.npy --flips 0.05 --held-out X2.npy -o small.npz

MODEL is an ONNX model, a file of nettrim.Network.save, or an .npz with the arrays W1, b1, W2, b2,
... of dense layers (weights n_features x n_outputs; ReLU after each layer but the last). OUT is a
file of the same kind; it carries the recipe of the run, which nettrim inspect shows. X.npy has
samples along its first axis; for an ONNX model with several inputs X.npz has an array for each, by
its name.

exit status: 0 all layers solved to the tolerance, 1 not all (the table says which), 2 bad input,
3 the error of the network is above --max-error, 4 nothing can be promised, 130 interrupted by
Ctrl-C, 143 by SIGTERM. OUT is written in all cases but 2; of an interrupted run it holds the layers
that were finished.

Places for output are looked at before anything else: folders of files must exist, and no file may
be named twice or be an input.
"""
INSPECT = """\
example:
  nettrim inspect net.npz

MODEL is an ONNX model or an .npz file, as for nettrim trim.
"""
BRANCH_HULL = """\
example:
  nettrim branch-hull data.npz --slack 0.1 -o signals.npz

DATA.npz holds y (products), B and C (a row for each product) and signs (of B h, or one for all).
OUT.npz gets h, m, w, x, xi and the multipliers p, q that prove the answer.

exit status: 0 proved to the tolerance, 1 not, 2 bad input or signs that contradict each other.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command, its name as ``command``; exit if they make no sense."""
    parser = CommandParser(
        prog="nettrim", description="Make trained ReLU networks sparse, with certificates."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    parser.set_defaults(verbose=0)
    _add_demo(commands)
    _add_trim(commands)
    _add_inspect(commands)
    _add_branch_hull(commands)
    return parser.parse_args(arguments)


def _add_demo(commands: argparse._SubParsersAction[CommandParser]) -> None:
    parser = _add(commands, "demo", "trim an embedded network that reads handwritten digits", DEMO)
    parser.add_argument(
        "-o", "--output", default="nettrim-demo.png", metavar="PNG", help="picture of the weights"
    )
    _add_common(parser, epsilon=0.05)


def _add_trim(commands: argparse._SubParsersAction[CommandParser]) -> None:
    parser = _add(commands, "trim", "trim a network from a file", TRIM)
    add = parser.add_argument
    add("network", metavar="MODEL")
    add(
        "-c",
        "--calibration",
        required=True,
        metavar="X.npy",
        help="samples the outputs of which are kept",
    )
    add("-o", "--output", required=True, metavar="OUT", help="the trimmed network")
    add(
        "--network",
        dest="network_error",
        type=float,
        metavar="E",
        help="error of the network's output, instead of -e",
    )
    add("--sparsity", type=float, metavar="S", help="share of the weights to remove, instead of -e")
    add("--pattern", metavar="N:M", help="leave N of every M inputs to an output, like 2:4")
    add(
        "--share",
        choices=["network", "layer"],
        help="one sparsity for the network as a whole (default), or for every layer",
    )
    add(
        "--min-density",
        type=float,
        metavar="D",
        help="share of its weights that every layer keeps at least (default 0)",
    )
    add("--size", type=float, metavar="S", help="share of the parameters to be left: fewer units")
    add("--operations", type=float, metavar="S", help="the same of the operations")
    add("--min-width", type=int, metavar="N", help="units that every signal keeps (default 1)")
    add("--multiple-of", type=int, metavar="N", help="widths are multiples of it (default 8)")
    add("--scheme", choices=["cascade", "parallel"], help="default cascade")
    add(
        "--gamma",
        type=float,
        help="inflation of epsilon^2 in the cascade (default 1.1)",
    )
    add(
        "--slack",
        choices=["positive", "paper"],
        help="upper bounds in the cascade (default positive)",
    )
    add(
        "--kappa",
        type=float,
        help="factor on the last epsilon in the cascade (default 1)",
    )
    add(
        "--regularise",
        type=_regularisation,
        metavar="R,P",
        help="with -e or --network: ridge and pull, which draw weights to what they were where few "
        "rows speak for them; or auto, to choose them",
    )
    add(
        "--reweighted",
        type=int,
        metavar="N",
        help="with -e or --network: solve each layer N times more, small weights dearer each time "
        "(default 0)",
    )
    add(
        "--layers",
        type=_layers,
        metavar="L,L,...",
        help="names, positions (from 0) or patterns (re:...) of the layers to prune",
    )
    add("--skip", type=_layers, metavar="L,L,...", help="layers to leave as they are, likewise")
    add(
        "--outputs",
        type=_layers,
        metavar="O,O,...",
        help="names or positions of the outputs that count (default all)",
    )
    add("--held-out", metavar="X.npy", help="samples to measure the error on as well")
    _add_promise(add)
    add(
        "--labels",
        metavar="Y.npy",
        help="numbers of the right outputs, of the held-out samples if there are some, of the "
        "calibration samples otherwise: tells the accuracy before and after",
    )
    add(
        "--max-error",
        type=float,
        default=LARGE_ERROR,
        metavar="E",
        help=f"exit status 3 if the network's error is larger (default {LARGE_ERROR:g})",
    )
    add("--tol", type=float, help="relative tolerance of every layer (default 1e-4)")
    add("--max-iter", type=int, metavar="N", help="iterations for each layer")
    add("--time-limit", type=float, metavar="S", help="seconds for each layer")
    add(
        "--max-patches",
        type=int,
        metavar="N",
        help="positions that a convolution is solved on at most (default 20000)",
    )
    add("--seed", type=int, help="of the draw of those positions (default 0)")
    add("--checkpoint", metavar="DIR", help="keep finished layers here and resume from them")
    add("--plot", metavar="PNG", help="picture of the weights before and after")
    add("--report", metavar="HTML", help="page that shows what happened, in one file")
    add("--export", metavar="DIR", help="write the trimmed model here in every format there is")
    _add_common(parser)


def _add_promise(add: Callable[..., argparse.Action]) -> None:
    add(
        "--flips",
        type=float,
        metavar="R",
        help="promise, by the held-out samples, that at most this share of future samples gets "
        "another answer",
    )
    add("--misses", type=float, metavar="R", help="the same of right answers that are lost")
    add("--drop", type=float, metavar="R", help="the same of the accuracy that is lost")
    add("--error", type=float, metavar="E", help="the same of the mean error of the output")
    add("--quantile", type=float, metavar="Q", help="of the error of this share of the samples")
    add("--confidence", type=float, metavar="C", help="of the promise (default 0.95)")
    add("--path", choices=["sparsity", "epsilon", "units"], help="models it is sought among")


def _add_inspect(commands: argparse._SubParsersAction[CommandParser]) -> None:
    parser = _add(commands, "inspect", "show the layers of a network in a file", INSPECT)
    parser.add_argument("network", metavar="MODEL")


def _add_branch_hull(commands: argparse._SubParsersAction[CommandParser]) -> None:
    about = "recover two signals from their product and the signs of one"
    parser = _add(commands, "branch-hull", about, BRANCH_HULL)
    add = parser.add_argument
    add("data", metavar="DATA.npz")
    add("-o", "--output", required=True, metavar="OUT.npz")
    add("--which", choices=["w", "x"], help="the signal whose signs are known (default w)")
    add("--regularizer", choices=["l1", "l2"], help="default l1")
    add("--slack", type=float, metavar="PENALTY", help="penalty of errors (default: none allowed)")
    add("--zero", choices=["drop", "quadrant", "equality"], help="what y = 0 says (default drop)")
    solvers = ["auto", "newton", "admm", "working-set", "lp"]
    add("--solver", choices=solvers, help="default auto")
    add("--tol", type=float, help="relative gap (default 1e-6)")
    add("--explain", type=int, default=0, metavar="N", help="list the N heaviest measurements")
    add("--threads", type=int, metavar="N", help="default: all processors")


def _add(
    commands: argparse._SubParsersAction[CommandParser],
    name: str,
    about: str,
    example: str,
) -> CommandParser:
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
        help=f"relative error allowed, for example 0.05{default}",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: all processors")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="log finished layers on stderr instead of progress; twice: every certificate",
    )


def _layers(text: str) -> list[int | str]:
    """Read "0,2" or "dense1,dense3"."""
    return [int(part) if part.lstrip("-").isdigit() else part for part in text.split(",")]


def _regularisation(text: str) -> str | tuple[float, ...]:
    """Read "auto" or "0.001,0.1"."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return text  # "auto", or refused where its meaning is known
