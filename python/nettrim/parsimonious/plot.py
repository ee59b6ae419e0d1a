"""The picture of a training: what left when, what that saved, and how sure the gates became."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..results.plot import FRAME, INK, NEGATIVE, POSITIVE, empty_figure, save_figure
from .cost import Size
from .history import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_history"]

SHADES = ("#1f5f99", "#c8553d", "#3d8f6b", "#8a5fa8", "#b8862b", "#5b6770")


def plot_history(path: str | os.PathLike[str], history: Sequence[Epoch], start: Size) -> None:
    """Draw a history into one file of four panels.

    Parameters
    ----------
    path : str or path-like
        File to write; the suffix chooses the format.
    history : sequence of Epoch
    start : Size
        Of the network at the beginning.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = empty_figure(9.0, 6.0)
    axes = figure.subplots(2, 2, sharex=True)
    _widths(axes[0, 0], history)
    _sizes(axes[0, 1], history, start)
    _losses(axes[1, 0], history)
    _probabilities(axes[1, 1], history)
    for ax in axes[1]:
        ax.set_xlabel("epoch", color=INK)
    save_figure(figure, path)


def _panel(ax: Axes, title: str) -> None:
    ax.set_title(title, loc="left", fontsize=11, color=INK)
    ax.grid(color=FRAME, linewidth=0.4)
    ax.spines[["top", "right"]].set_visible(False)


def _epochs(history: Sequence[Epoch]) -> list[int]:
    return [epoch.epoch for epoch in history]


def _widths(ax: Axes, history: Sequence[Epoch]) -> None:
    _panel(ax, "units left")
    names = list(dict.fromkeys(name for epoch in history for name in epoch.widths))
    for k, name in enumerate(names):
        left = [epoch.widths.get(name, 0) for epoch in history]
        ax.step(_epochs(history), left, where="post", color=SHADES[k % len(SHADES)], label=name)
    if any(epoch.sections for epoch in history):
        left = [epoch.sections for epoch in history]
        ax.step(_epochs(history), left, where="post", color=INK, linestyle="--", label="sections")
    ax.set_yscale("log")
    for formatter in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        formatter("{x:g}")
    if len(names) <= len(SHADES):
        ax.legend(frameon=False, fontsize=9)


def _sizes(ax: Axes, history: Sequence[Epoch], start: Size) -> None:
    _panel(ax, "left of the start (%)")
    parameters = [100 * epoch.parameters / start.parameters for epoch in history]
    flops = [100 * epoch.flops / start.flops for epoch in history]
    ax.plot(_epochs(history), parameters, color=NEGATIVE, label="weights")
    ax.plot(_epochs(history), flops, color=POSITIVE, linestyle="--", label="operations")
    work = [100 * sum(e.flops for e in history[:k]) / (k * start.flops) for k in _epochs(history)]
    ax.plot(_epochs(history), work, color=INK, linewidth=1, label="operations so far")
    ax.set_ylim(0, 105)
    ax.legend(frameon=False, fontsize=9)


def _losses(ax: Axes, history: Sequence[Epoch]) -> None:
    _panel(ax, "mean loss")
    ax.plot(
        _epochs(history), [e.loss for e in history], color=NEGATIVE, label="training, gates drawn"
    )
    judged = [(e.epoch, e.validation_loss) for e in history if e.validation_loss is not None]
    if judged:
        ax.plot(*zip(*judged, strict=True), color=POSITIVE, label="validation, gates decided")
    ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=9)


def _probabilities(ax: Axes, history: Sequence[Epoch]) -> None:
    _panel(ax, "keep probabilities")
    for epoch in history:
        values = [p for group in epoch.keep_probabilities.values() for p in group]
        ax.plot([epoch.epoch] * len(values), values, ".", color=NEGATIVE, markersize=2, alpha=0.3)
    ax.set_ylim(-0.03, 1.03)
