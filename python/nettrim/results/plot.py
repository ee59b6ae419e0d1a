"""Pictures: weight matrices, widths of signals, and the curve of what an error costs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arrays import AnyFloat
from ..base.storage import as_path, write_atomically
from ..base.table import shorten_names
from ..models.layer_view import LayerView
from .widths import Widths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

NEGATIVE, ZERO, POSITIVE = "#1f5f99", "#ffffff", "#c8553d"
INK, FRAME, GONE = "#333333", "#c4c4c4", "#d9d9d9"
FAINTEST = 0.25  # depth of colour of the smallest weight: it must differ from no weight


def plot_weights(
    path: str | os.PathLike[str], versions: Mapping[str, Sequence[LayerView]], title: str = ""
) -> None:
    """Draw the weights of several versions of a network into one file.

    Parameters
    ----------
    path : str or path-like
        File to write; the suffix chooses the format.
    versions : mapping of str to sequence of LayerView
        Rows of the picture by name; the first is the original, by which the others are measured.
    title : str, optional
        Line above the picture.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    original = next(iter(versions.values()))
    widths = _widths(original)
    height = 2.5 * len(versions) + (1.1 if title else 0.7)
    figure = empty_figure(1.1 + 1.1 * sum(widths), height)
    axes = figure.subplots(len(versions), len(original), width_ratios=widths, squeeze=False)
    for row, (name, layers) in zip(axes, versions.items(), strict=True):
        row[0].set_ylabel(name, fontsize=12, color=INK, labelpad=10)
        for ax, before, layer in zip(row, original, layers, strict=True):
            _panel(ax, before.affine.weights, layer.affine.weights)
    for ax, layer in zip(axes[0], original, strict=True):
        n_features, n_outputs = layer.shape
        ax.set_title(f"{layer.name}  {n_features} × {n_outputs}", fontsize=11, color=INK, pad=8)  # noqa: RUF001
    if title:
        figure.suptitle(title, fontsize=13, color=INK)
    save_figure(figure, path)


def plot_widths(path: str | os.PathLike[str], widths: Widths) -> None:
    """Draw how many units each signal had, and how many are left, into one file.

    Parameters
    ----------
    path : str or path-like
        File to write; the suffix chooses the format.
    widths : Widths

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    signals = widths.signals
    figure = empty_figure(6.4, 1.3 + 0.32 * len(signals))
    axes = figure.subplots()
    places = range(len(signals))
    before, after = ([signal.units[k] for signal in signals] for k in (0, 1))
    axes.barh(places, before, color=GONE, label="before")
    axes.barh(places, after, color=NEGATIVE, label="after")
    for place, count in enumerate(after):
        axes.text(count, place, f" {count:,}", va="center", fontsize=9, color=INK)
    axes.set_yticks(places, shorten_names([signal.name for signal in signals]), fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("units", color=INK)
    shares = [f"{100 * k.after / k.before:.0f}%" for k in (widths.parameters, widths.operations)]
    axes.set_title(
        f"{shares[0]} of the parameters, {shares[1]} of the operations", fontsize=11, color=INK
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    save_figure(figure, path)


def plot_trace(
    path: str | os.PathLike[str], epsilons: NDArray[np.float64], kept: NDArray[np.float64]
) -> None:
    """Draw the share of weights kept against the error allowed into one file.

    Parameters
    ----------
    path : str or path-like
        File to write; the suffix chooses the format.
    epsilons, kept : ndarray of shape (n_points,)

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = empty_figure(5.2, 3.6)
    axes = figure.subplots()
    axes.semilogx(epsilons, 100 * kept, "o-", color=NEGATIVE, markersize=4)
    axes.set_xlabel("epsilon", color=INK)
    axes.set_ylabel("weights kept (%)", color=INK)
    axes.set_ylim(bottom=0)
    axes.grid(which="both", color=FRAME, linewidth=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    save_figure(figure, path)


def check_format(path: str | os.PathLike[str]) -> str:
    """Return the format that the suffix of a path chooses, "png" if it has none.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the suffix is that of no picture.
    """
    known = empty_figure(1.0, 1.0).canvas.get_supported_filetypes()
    suffix = as_path(path, "path").suffix.lower().removeprefix(".") or "png"
    if suffix not in known:
        raise ValueError(
            f"{os.fspath(path)!r} must be a picture, one of {', '.join(sorted(known))}"
        )
    return suffix


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture, whole or not at all."""
    format = check_format(path)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, format=format, dpi=160, facecolor="white")


def empty_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, without a window.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError('plotting needs matplotlib: pip install "nettrim[cli]"') from None
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06))
    FigureCanvasAgg(figure)
    return figure


def _widths(layers: Sequence[LayerView]) -> list[float]:
    """Return the widths of the columns: the square root tames very unequal layers."""
    roots = [math.sqrt(layer.shape[1]) for layer in layers]
    return [max(4 * root / max(roots), 1.2) for root in roots]


def _panel(ax: Axes, before: AnyFloat, weights: AnyFloat) -> None:
    """Draw one matrix and, under it, how many weights it has left."""
    ax.imshow(_colours(before, weights), aspect="auto", interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=FRAME, linewidth=0.8)
    left, total = int(np.count_nonzero(weights)), int(np.count_nonzero(before))
    part = f" ({left / total:.0%})" if total and weights is not before else ""
    note = f"{left:,} weights{part}"
    ax.set_xlabel(note, fontsize=10, color=INK)


def _colours(before: AnyFloat, weights: AnyFloat) -> Any:
    """Return an RGB image: hue by sign, depth by the root of the size, white only for zero."""
    from matplotlib.colors import to_rgb

    largest = float(np.quantile(np.abs(before), 0.995)) or 1.0
    size = np.sqrt(np.minimum(np.abs(weights.astype(np.float64)) / largest, 1.0))
    depth = np.where(weights == 0, 0.0, FAINTEST + (1 - FAINTEST) * size)[..., None]
    hue = np.where((weights > 0)[..., None], to_rgb(POSITIVE), to_rgb(NEGATIVE))
    return (1 - depth) * to_rgb(ZERO) + depth * hue
