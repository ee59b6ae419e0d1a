"""Progress of a training: a bar if rich is installed and there is a terminal, lines otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..base.terminal import logger, on_terminal
from .history import Epoch

__all__ = ["make_reporter"]

LINES = 10  # of a whole training


@contextmanager
def make_reporter(enabled: bool, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Open what is told every epoch; the log hears all of them."""
    with on_terminal(enabled) as bars:
        task = None if bars is None else bars.add_task("training", total=epochs, note="")

        def tell(epoch: Epoch) -> None:
            note = format_epoch(epoch)
            logger.info("epoch %d/%d: %s", epoch.epoch, epochs, note)
            if bars is not None and task is not None:
                bars.update(task, completed=epoch.epoch, note=note)
            elif enabled and epoch.epoch * LINES // epochs > (epoch.epoch - 1) * LINES // epochs:
                print(f"epoch {epoch.epoch}/{epochs}: {note}", file=sys.stderr, flush=True)

        yield tell


def format_epoch(epoch: Epoch) -> str:
    """Return an epoch in a line."""
    widths = "-".join(map(str, epoch.widths.values()))
    accuracy = "" if epoch.accuracy is None else f", accuracy {epoch.accuracy:.2%}"
    return f"loss {epoch.loss:.4f}{accuracy}, units {widths}, {epoch.seconds:.1f} s"
