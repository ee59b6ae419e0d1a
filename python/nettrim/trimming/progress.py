"""Progress of a run: on stderr a bar if rich is installed, plain lines otherwise; and in the log.

The log is the logger ``nettrim`` of the standard library: a line at INFO for each finished layer,
one at DEBUG for each certificate. It says nothing until somebody listens.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..base.terminal import logger, on_terminal
from .solved_layer import SolvedLayer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..layer.solution import LayerProgress

BASIS = 4  # certificates it takes to say how much time is left
LARGEST_TOL = 0.5  # that a bar can be measured by
ROUNDING = 1e-9  # of a logarithm: a gap that falls by less does not fall


class Reporter(Protocol):
    """What `nettrim.trim` tells about its way."""

    def begin(self, title: str) -> None:
        """Say that the layers that follow are those of another one of several models."""
        ...

    def start(self, name: str, shape: tuple[int, int]) -> None:
        """Say that a layer is taken up."""
        ...

    def update(self, progress: LayerProgress, tol: float) -> None:
        """Show how far its solve is from a gap of `tol`."""
        ...

    def finish(self, solved: SolvedLayer, *, resumed: bool) -> None:
        """Say that a layer is done, here or in an earlier run."""
        ...

    def stage(self, name: str, done: int, total: int, things: str = "layers") -> None:
        """Say how far a stage is that takes up all layers and finishes none."""
        ...


@contextmanager
def make_reporter(enabled: bool, n_layers: int) -> Iterator[Reporter]:
    """Open the best reporter there is: the log alone, plain lines, or a bar on a terminal."""
    with on_terminal(enabled) as bars:
        if bars is not None:
            yield Bars(bars, n_layers)
        else:
            yield (Lines if enabled else Log)(n_layers)


class Log:
    """Tells the log, and nobody else."""

    def __init__(self, n_layers: int) -> None:
        self.n_layers = n_layers
        self.count = 0
        self.model = ""
        self.title = ""

    def begin(self, title: str) -> None:
        """Count layers from the first again."""
        self.count, self.model = 0, f"{title}: "

    def start(self, name: str, shape: tuple[int, int]) -> None:
        """Remember which layer it is."""
        self.count += 1
        self.title = f"{self.model}{self.count}/{self.n_layers} {name} {shape[0]}x{shape[1]}"

    def update(self, progress: LayerProgress, tol: float) -> None:
        """Log a certificate."""
        logger.debug(
            "layer %s: iteration %d, gap %.1e, residual %.4g, violation %.1e, %.2f s",
            self.title,
            progress.iteration,
            progress.gap,
            progress.residual,
            progress.violation,
            progress.seconds,
        )

    def finish(self, solved: SolvedLayer, *, resumed: bool) -> None:
        """Log the outcome."""
        logger.info("layer %s: %s", self.title, _outcome(solved, resumed))

    def stage(self, name: str, done: int, total: int, things: str = "layers") -> None:
        """Log it."""
        logger.info("%s: %d of %d %s", name, done, total, things)


class Lines(Log):
    """One line for each finished layer."""

    def finish(self, solved: SolvedLayer, *, resumed: bool) -> None:
        """Print the line."""
        super().finish(solved, resumed=resumed)
        print(f"layer {self.title}: {_outcome(solved, resumed)}", file=sys.stderr, flush=True)

    def stage(self, name: str, done: int, total: int, things: str = "layers") -> None:
        """Print it."""
        super().stage(name, done, total, things)
        print(f"{name}: {done} of {total} {things}", file=sys.stderr, flush=True)


class Bars(Log):
    """A bar for each layer; it fills as the gap falls from 1 to the tolerance."""

    def __init__(self, bars: Progress, n_layers: int) -> None:
        super().__init__(n_layers)
        self.bars = bars
        self.stages: dict[str, TaskID] = {}

    def start(self, name: str, shape: tuple[int, int]) -> None:
        """Add the layer's bar."""
        super().start(name, shape)
        self.history: list[tuple[float, float]] = []
        self.task = self.bars.add_task(self.title, total=1.0, note="")

    def update(self, progress: LayerProgress, tol: float) -> None:
        """Move the bar. A negative gap belongs to an infeasible iterate and counts as its size."""
        super().update(progress, tol)
        self.history.append((progress.seconds, progress.gap))
        distance = min(max(abs(progress.gap), 1e-16), 1.0)
        tol = min(tol, LARGEST_TOL)
        done = min(math.log(distance) / math.log(tol), 1.0)
        left = time_left(self.history, tol)
        forecast = f", about {left:.0f} s left" if left is not None and left >= 1 else ""
        self.bars.update(self.task, completed=done, note=f"gap {progress.gap:.1e}{forecast}")

    def finish(self, solved: SolvedLayer, *, resumed: bool) -> None:
        """Fill the bar."""
        super().finish(solved, resumed=resumed)
        self.bars.update(self.task, completed=1.0, note=_outcome(solved, resumed))
        self.bars.stop_task(self.task)

    def stage(self, name: str, done: int, total: int, things: str = "layers") -> None:
        """Move the bar of a stage."""
        super().stage(name, done, total, things)
        if name not in self.stages:
            self.stages[name] = self.bars.add_task(name, note="")
        note = f"{done} of {total} {things}"
        self.bars.update(self.stages[name], completed=done, total=total, note=note)
        if done == total:
            self.bars.stop_task(self.stages[name])


def time_left(history: Sequence[tuple[float, float]], tol: float) -> float | None:
    """Extrapolate the logarithm of the gap to the tolerance.

    Parameters
    ----------
    history : sequence of (seconds, gap)
        The certificates so far. The later half of them counts.
    tol : float

    Returns
    -------
    float or None
        Seconds; None without a basis: fewer than `BASIS` certificates in that half, a gap that is
        not positive, or one that falls less than it scatters.
    """
    recent = np.array(history[len(history) // 2 :])
    if len(recent) < BASIS or recent[:, 1].min() <= 0:
        return None
    seconds, height = recent[:, 0] - recent[0, 0], np.log(recent[:, 1])
    if seconds[-1] <= 0:
        return None
    slope, level = np.polyfit(seconds, height, 1)
    scatter = float(np.std(height - slope * seconds - level))
    if -slope * seconds[-1] <= max(2 * scatter, ROUNDING):
        return None
    return max(float(height[-1]) - math.log(tol), 0.0) / -float(slope)


def _outcome(solved: SolvedLayer, resumed: bool) -> str:
    source = "from the checkpoint" if resumed else f"{solved.seconds:.1f} s"
    proof = "" if solved.proof is None else f", gap {solved.proof.gap:.1e}"
    return f"{solved.status}{proof}, {source}"
