"""Random calls of the command line: a documented status, errors in one line, no traceback."""

from __future__ import annotations

import contextlib
import io
from typing import Any, ClassVar

import numpy as np

import nettrim
from nettrim.cli.commands import main
from support import random_networks as nets
from support.random_entry import Arguments, Entry, Random, maybe, pick
from support.random_hulls import random_product

STATUSES = {0, 1, 2, 3, 4, 130}
VALUES = (
    "",
    "0",
    "1",
    "-1",
    "0.5",
    "nan",
    "inf",
    "1e400",
    "nonsense",
    "2:4",
    "nowhere/x",
    "net.npz",
)
FLAGS = (
    "--epsilon",
    "--sparsity",
    "--pattern",
    "--share",
    "--min-density",
    "--scheme",
    "--gamma",
    "--slack",
    "--kappa",
    "--network",
    "--flips",
    "--misses",
    "--drop",
    "--error",
    "--quantile",
    "--confidence",
    "--path",
    "--layers",
    "--held-out",
    "--labels",
    "--tol",
    "--max-iter",
    "--time-limit",
    "--max-patches",
    "--seed",
    "--checkpoint",
    "--report",
    "--export",
    "--output",
    "--calibration",
    "--nonsense",
)


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run the command line; return status, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as end:  # of argparse
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


class Command(Entry):
    """A command of ``nettrim``, its words in ``arguments``."""

    function = staticmethod(run)

    @classmethod
    def title(cls) -> str:
        return f"cli/{cls.__name__.lower()}"

    def spoil(self, arguments: Arguments, rng: Random) -> list[str]:
        """Add flags, change words, damage files."""
        words, count = arguments["arguments"], int(rng.choice(4, p=(0.4, 0.3, 0.2, 0.1)))
        for _ in range(count):
            kind = int(rng.integers(4))
            if kind < 2:
                words += [pick(rng, self.flags), pick(rng, VALUES)]
            elif kind == 2:
                words[int(rng.integers(len(words)))] = pick(rng, VALUES)
            else:
                self._damage(pick(rng, self.files), rng)
        return ["arguments"] * bool(count)

    def _damage(self, path: str, rng: Random) -> None:
        """Cut a file, or change some bytes of it."""
        with open(path, "rb") as stream:
            content = bytearray(stream.read())
        if rng.random() < 0.5:
            del content[int(rng.integers(len(content) + 1)) :]
        for place in rng.integers(0, max(len(content), 1), 3):
            if content:
                content[place] = int(rng.integers(256))
        with open(path, "wb") as stream:
            stream.write(content)

    flags: ClassVar[tuple[str, ...]] = FLAGS
    files: ClassVar[tuple[str, ...]] = ()

    def check(self, arguments: Arguments, answer: tuple[int, str, str]) -> bool:
        status, out, err = answer
        assert status in STATUSES, f"status {status}"
        assert "Traceback" not in err, err[-500:]
        if status == 2:
            warned = "nettrim: warning: "
            apart = (warned, "layer ")  # those that are finished come before an error of the next
            lines = [line for line in err.splitlines() if line and not line.startswith(apart)]
            assert lines, "status 2 without a word"
            assert lines[0].startswith("nettrim: error: "), lines[0]
            assert len(lines) == 1, f"an error of {len(lines)} lines: {err[:300]}"
        else:
            assert out.strip(), "nothing was said"
        return status in (0, 2)


class Trim(Command):
    """``nettrim trim``."""

    share: ClassVar[float] = 0.7
    files: ClassVar = ("net.npz", "X.npy")

    def arguments(self, rng: Random) -> Arguments:
        plan = nets.blueprint(rng, 1, folded=False)
        X = nets.samples(rng, plan.shape)
        nets.as_network(plan).save("net.npz")
        np.save("X.npy", X)
        goal = pick(rng, [["--epsilon", "0.1"], ["--sparsity", "0.5"], ["--pattern", "1:2"]])
        words = ["trim", "net.npz", "-c", "X.npy", "-o", "out.npz", "--threads", "1", *goal]
        words += maybe(rng, 0.5, words=["-q"]).get("words", [])
        words += maybe(rng, 0.2, words=["--held-out", "X.npy"]).get("words", [])
        words += maybe(rng, 0.2, words=["--report", "page.html"]).get("words", [])
        words += maybe(rng, 0.2, words=["--export", "files"]).get("words", [])
        return {"arguments": words}

    def check(self, arguments: Arguments, answer: tuple[int, str, str]) -> bool:
        proved = super().check(arguments, answer)
        words = arguments["arguments"]
        asked = "--output" not in words and " -o out.npz " in " ".join(words)
        if asked and answer[0] in (0, 1):
            nettrim.Network.load("out.npz")
        return proved


class Inspect(Command):
    """``nettrim inspect``."""

    share: ClassVar[float] = 0.3
    flags: ClassVar = ("--nonsense", "-v")
    files: ClassVar = ("net.npz", "model.onnx")

    def arguments(self, rng: Random) -> Arguments:
        plan = nets.blueprint(rng, 1, folded=False)
        nets.as_network(plan).save("net.npz")
        with open("model.onnx", "wb") as stream:
            stream.write(nets.as_onnx(plan).SerializeToString())
        return {"arguments": ["inspect", pick(rng, self.files)]}


class BranchHull(Command):
    """``nettrim branch-hull``."""

    share: ClassVar[float] = 0.5
    flags: ClassVar = (
        "--which",
        "--regularizer",
        "--slack",
        "--zero",
        "--solver",
        "--tol",
        "--explain",
        "--output",
    )
    files: ClassVar = ("data.npz",)

    def arguments(self, rng: Random) -> Arguments:
        product = random_product(rng)
        arrays: dict[str, Any] = {name: product[name] for name in ("y", "B", "C", "signs")}
        np.savez("data.npz", **arrays)
        return {"arguments": ["branch-hull", "data.npz", "-o", "out.npz", "--threads", "1"]}


ENTRIES = (Trim, Inspect, BranchHull)
