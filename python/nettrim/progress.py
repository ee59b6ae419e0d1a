"""Progress of a run on stderr: a bar if rich is installed, plain lines otherwise."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from .checkpoint import SolvedLayer

if TYPE_CHECKING:
    from rich.progress import Progress

    from .solution import LayerProgress


class Reporter(Protocol):
    """What `nettrim.trim` tells about its way."""

    def start(self, name: str, shape: tuple[int, int]) -> None:
        """Say that a layer is taken up."""
        ...

    def update(self, progress: LayerProgress) -> None:
        """Show how far its solve is; serves as the solver's callback."""
        ...

    def finish(self, solved: SolvedLayer, *, resumed: bool) -> None:
        """Say that a layer is done, here or in an earlier run."""
        ...


@contextmanager
def reporter(enabled: bool, n_layers: int, tol: float) -> Iterator[Reporter]:
    """Open the best reporter there is: none, plain lines, or a bar on a terminal."""
    if not enabled:
        yield Silent()
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield Lines(n_layers)
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(n_layers)
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as bars:
        yield Bars(bars, n_layers, tol)


class Silent:
    """Says nothing."""

    def start(self, name: str, shape: tuple[int, int]) -> None:
        """Do nothing."""

    def update(self, progress: LayerProgress) -> None:
        """Do nothing."""

    def finish(self, solved: SolvedLayer, *, resumed: bool) -> None:
        """Do nothing."""


class Lines(Silent):
    """One line for each finished layer."""

    def __init__(self, n_layers: int) -> None:
        self.n_layers = n_layers
        self.count = 0
        self.title = ""

    def start(self, name: str, shape: tuple[int, int]) -> None:
        """Remember which layer it is."""
        self.count += 1
        self.title = f"layer {self.count}/{self.n_layers} {name} {shape[0]}x{shape[1]}"

    def finish(self, solved: SolvedLayer, *, resumed: bool) -> None:
        """Print the line."""
        source = "from the checkpoint" if resumed else f"{solved.seconds:.1f} s"
        line = f"{self.title}: {solved.status}, gap {solved.gap:.1e}, {source}"
        print(line, file=sys.stderr, flush=True)


class Bars(Silent):
    """A bar for each layer; it fills as the gap falls from 1 to the tolerance."""

    def __init__(self, bars: Progress, n_layers: int, tol: float) -> None:
        self.bars = bars
        self.n_layers = n_layers
        self.goal = math.log(min(tol, 0.5))
        self.count = 0

    def start(self, name: str, shape: tuple[int, int]) -> None:
        """Add the layer's bar."""
        self.count += 1
        title = f"{self.count}/{self.n_layers} {name} {shape[0]}x{shape[1]}"
        self.task = self.bars.add_task(title, total=1.0, note="")

    def update(self, progress: LayerProgress) -> None:
        """Move the bar. A negative gap belongs to an infeasible iterate and counts as its size."""
        distance = min(max(abs(progress.gap), 1e-16), 1.0)
        done = min(math.log(distance) / self.goal, 1.0)
        self.bars.update(self.task, completed=done, note=f"gap {progress.gap:.1e}")

    def finish(self, solved: SolvedLayer, *, resumed: bool) -> None:
        """Fill the bar."""
        note = "from the checkpoint" if resumed else f"{solved.status}, gap {solved.gap:.1e}"
        self.bars.update(self.task, completed=1.0, note=note)
        self.bars.stop_task(self.task)
