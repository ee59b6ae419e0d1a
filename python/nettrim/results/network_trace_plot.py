"""The picture of a path: what its models keep, and what that does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .plot import FRAME, INK, NEGATIVE, POSITIVE, empty_figure, save_figure
from .traced_path import TracedPath

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_network_trace"]


def plot_network_trace(path: str | os.PathLike[str], trace: TracedPath[Any]) -> None:
    """Draw errors, and flips with their band if there are some, against the weights kept."""
    kept = [100 * point.kept for point in trace.points]
    flips = [100 * point.flips for point in trace.points if point.flips is not None]
    limits = [100 * point.flips_limit for point in trace.points if point.flips_limit is not None]
    figure = empty_figure(5.2 if not flips else 9.6, 3.6)
    panels = figure.subplots(1, 2 if flips else 1, squeeze=False)[0]
    errors = [100 * point.error for point in trace.points]
    panels[0].plot(kept, errors, "o-", color=NEGATIVE, markersize=4, label="calibration samples")
    unseen = [100 * point.unseen for point in trace.points if point.unseen is not None]
    if unseen:
        panels[0].plot(kept, unseen, "o-", color=POSITIVE, markersize=4, label="held-out samples")
    _dress(panels[0], kept, "error of the network (%)")
    if flips:
        panels[1].plot(kept, flips, "o-", color=POSITIVE, markersize=4, label="held-out samples")
        panels[1].fill_between(
            kept, flips, limits, color=POSITIVE, alpha=0.2, label="future samples, 95% confidence"
        )
        _dress(panels[1], kept, "flips (%)")
    save_figure(figure, path)


def _dress(axes: Axes, kept: Sequence[float], label: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks(kept, [f"{share:.3g}" for share in kept])
    axes.minorticks_off()
    axes.set_xlabel("weights kept (%)", color=INK)
    axes.set_ylabel(label, color=INK)
    axes.set_ylim(bottom=0)
    axes.grid(which="both", color=FRAME, linewidth=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
