"""Has a solve become slower? Seven of them, in products, against what was stored.

    python -m bench.regression [--only CASE ...] [--update]

A product is one NumPy ``X @ W`` of the case's shapes and precision. Products and solves take turns
on one thread, and each solve is divided by the products on both sides of it: a processor that slows
down slows both. Times are the processor's, so that what other programs take is left out. The median
of the solves counts; a case that fails is measured once more, and fails if it does so again.

It sees an algorithm or a build that takes more than `MARGIN` longer, on a processor whose products
are stored. On any other it compares with the most that any of them takes and sees no less than
`MARGIN_ELSEWHERE`: a product lives on vector width, a solve on caches as well, so that the same
code differs between processors in this unit too (in single precision by a factor of three). It does
not see how threads scale, what waits, what memory is taken, or what happens in layers ten times as
large, and a loss of less than `MARGIN` at a time adds up unseen if every one of them is stored:
``--update`` accepts whatever it finds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import nettrim

from .common import machine
from .common.tables import replace

STORED = Path(__file__).parent / "results" / "regression.json"
MARGIN = 0.25
MARGIN_ELSEWHERE = 2 * (1 + MARGIN) - 1  # vectors twice as wide, of which the product alone gains
SAME = ("cpu", "kind", "instructions")  # lines of the header that make products comparable
SOLVES = 7
PRODUCT_SECONDS = 0.05  # of the products between two solves

Array = NDArray[np.floating[Any]]
Entry = dict[str, Any]  # "machine": its header, "products": those of every case


# --- cases ----------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A solve, which says whether it came to its end, and the factors of its product."""

    solve: Callable[[], bool]
    X: Array
    W: Array


def newton() -> Case:
    X, W = layer(1, n=1000, side=18, n_outputs=60)
    return layer_case(X, np.maximum(X @ W, 0), solver="newton")


def alternating_directions() -> Case:
    """A linear layer with more features than samples."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((300, 900))
    W = rng.standard_normal((900, 40)) * (rng.random((900, 40)) < 0.05)
    return layer_case(X, X @ W, activation="linear", solver="admm")


def cascade() -> Case:
    """The layers before have changed: other inputs, and upper bounds that are not zero."""
    X, W = layer(3, n=800, side=16, n_outputs=40)
    inputs = X * np.random.default_rng(4).uniform(0.9, 1.1, X.shape)
    return layer_case(inputs, np.maximum(X @ W, 0), upper=np.maximum(inputs @ W, 0))


def single_precision() -> Case:
    X, W = layer(5, n=1000, side=18, n_outputs=60)
    X, Y = X.astype(np.float32), np.maximum(X @ W, 0).astype(np.float32)
    return layer_case(X, Y, dtype=np.float32, tol=1e-4)


def surgery() -> Case:
    X, W = layer(6, n=1000, side=18, n_outputs=60)
    Y = np.maximum(X @ W, 0)

    def solve() -> bool:
        budget = {"sparsity": 0.8, "method": "surgery"}
        return bool(nettrim.solve_layer_budget(X, Y, weights=W, **budget, n_threads=1).nonzeros)

    return Case(solve, X, W)


def trace() -> Case:
    X, W = layer(7, n=600, side=14, n_outputs=30)
    Y = np.maximum(X @ W, 0)
    epsilons = np.geomspace(0.4, 0.05, 6) * np.linalg.norm(Y)
    return Case(lambda: nettrim.trace(X, Y, epsilons=epsilons, n_threads=1).converged, X, W)


def branch_hull() -> Case:
    """Its product is the Gram matrix of both dictionaries."""
    rng = np.random.default_rng(8)
    B, C = rng.standard_normal((2, 400, 120))
    h, m = rng.standard_normal((2, 120)) * (rng.random((2, 120)) < 0.05)
    w, x = B @ h, C @ m

    def solve() -> bool:
        solution = nettrim.branch_hull(w * x, B, C, signs=np.sign(w), n_threads=1)
        return solution.status == "optimal"

    both = np.hstack([B, C])
    return Case(solve, np.ascontiguousarray(both.T), both)


def layer_case(X: Array, Y: Array, **options: Any) -> Case:
    epsilon = 0.1 * float(np.linalg.norm(Y))

    def solve() -> bool:
        solution = nettrim.solve_layer(X, Y, epsilon=epsilon, n_threads=1, **options)
        return solution.status == "optimal"

    return Case(solve, X, np.ones((X.shape[1], Y.shape[1]), X.dtype))


def layer(seed: int, n: int, side: int, n_outputs: int) -> tuple[Array, Array]:
    """Pictures of ``side * side`` pixels, and the weights of a layer that looks at them."""
    rng = np.random.default_rng(seed)
    X = pictures(rng, n, side)
    W = rng.standard_normal((X.shape[1], n_outputs)) * rng.random((X.shape[1], n_outputs)) ** 2
    return X, W / side


def pictures(rng: np.random.Generator, n: int, side: int) -> Array:
    """Blots on a dark ground and a last column of ones: many zeros, neighbours are alike."""
    y, x = np.mgrid[:side, :side] / side
    light = np.zeros((n, side, side))
    for _ in range(4):
        its_x, its_y = rng.random((2, n, 1, 1))
        light += np.exp(-60 * ((x - its_x) ** 2 + (y - its_y) ** 2))
    pixels = np.where(light < 0.2, 0, np.minimum(light, 1)).reshape(n, -1)
    return np.column_stack([pixels, np.ones(n)])


CASES: dict[str, Callable[[], Case]] = {
    case.__name__: case
    for case in (
        newton,
        alternating_directions,
        cascade,
        single_precision,
        surgery,
        trace,
        branch_hull,
    )
}


# --- measuring ------------------------------------------------------------------------------------


def products_of(name: str) -> float:
    """How many products a solve takes: the median of some."""
    case = CASES[name]()
    case.solve()  # loads what is loaded at first use
    before, ratios = product_seconds(case), []
    for _ in range(SOLVES):
        seconds = solve_seconds(name, case)
        after = product_seconds(case)
        ratios.append(2 * seconds / (before + after))
        before = after
    return statistics.median(ratios)


def solve_seconds(name: str, case: Case) -> float:
    began = time.process_time()
    ended = case.solve()
    seconds = time.process_time() - began
    if not ended:
        raise SystemExit(f"{name}: not solved")
    return seconds


def product_seconds(case: Case) -> float:
    """The mean of as many as make the clock's steps small."""
    began, count = time.process_time(), 0
    while (seconds := time.process_time() - began) < PRODUCT_SECONDS:
        case.X @ case.W
        count += 1
    return seconds / count


# --- comparing ------------------------------------------------------------------------------------


def slower(names: list[str], stored: dict[str, float], margin: float) -> list[str]:
    """Print what the cases take, and return those that take too much."""
    return [
        name for name in names if not (passes(name, stored, margin) or passes(name, stored, margin))
    ]


def passes(name: str, stored: dict[str, float], margin: float) -> bool:
    products = products_of(name)
    change = products / stored[name] - 1
    print(f"{name:24}{products:8.0f} products, {change:+.0%} of {stored[name]:.0f}", flush=True)
    return change <= margin


def header() -> dict[str, Any]:
    """The machine; processors under a hypervisor share a name, their kinds are told apart."""
    kind = " ".join(machine.cpu_line(key) for key in ("cpu family", "model", "cache size"))
    return {**machine.header(), "kind": kind}


def alike(entry: Entry, here: dict[str, Any]) -> bool:
    """Whether its machine is one whose products can be compared with ours."""
    return all(entry["machine"][line] == here[line] for line in SAME)


def most(entries: list[Entry], names: list[str]) -> dict[str, float]:
    """What each case takes where it takes most products."""
    return {name: max(entry["products"][name] for entry in entries) for name in names}


def updated(entries: list[Entry], here: dict[str, Any], found: dict[str, float]) -> list[Entry]:
    """The entries with one of this machine in place of the old one."""
    old = [entry for entry in entries if alike(entry, here)]
    products = {**(old[0]["products"] if old else {}), **found}
    return [*(e for e in entries if e not in old), {"machine": here, "products": products}]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--update", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    machine.use_threads(1)
    here = header()
    entries = json.loads(STORED.read_text()) if STORED.exists() else []
    if options.update:
        found = {name: round(products_of(name), 1) for name in options.only}
        replace(STORED, json.dumps(updated(entries, here, found), indent=1) + "\n")
        print(f"{found}")
        return
    known = [entry for entry in entries if alike(entry, here)]
    margin = MARGIN if known else MARGIN_ELSEWHERE
    compared = known or entries
    print("here:  ", machine.header_line(here))
    for entry in compared:
        print("stored:", machine.header_line(entry["machine"]))
    print(f"a case fails above {margin:+.0%}", flush=True)
    too_slow = slower(options.only, most(compared, options.only), margin)
    if too_slow:
        raise SystemExit(f"slower: {', '.join(too_slow)}")


if __name__ == "__main__":
    main()
