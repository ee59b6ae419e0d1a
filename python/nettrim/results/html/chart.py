"""Charts in SVG. Abscissas are percentages: a chart fills any width, its text keeps its size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...base.table import shorten_names
from ..text import format_gap, format_time
from .markup import Markup, element, join

__all__ = ["Span", "draw_history", "draw_key", "draw_spans"]

ROW, HEAD = 26, 24  # heights in pixels
NAMES, TRACK = 26, 70  # shares of the width, in percent
ZERO, UNKNOWN = 14, 26  # shares of the track for what a logarithm cannot show
MOST_TICKS = 5
FINEST = (1, 1.5, 2, 3, 4, 5, 7)  # first digits of round numbers
MOST_POINTS = 150
PLOT = (8, 104)  # top and bottom of a course
LONGEST = 14  # characters of a name
LEFT = 12  # share of its width for the numbers


class Span(NamedTuple):
    """What a row of `draw_spans` shows: two numbers of a layer, the second infinite if unknown."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class LogScale:
    """Positions of positive numbers along a track; zero and the unknown have their own."""

    low: float
    high: float
    zero: bool
    unknown: bool

    @classmethod
    def over(cls, values: Iterable[float]) -> LogScale:
        """Return a scale that shows all of some numbers."""
        values = list(values)
        positive = [value for value in values if 0 < value < math.inf] or [0.01, 1.0]
        least, most = 0.97 * min(positive), 1.03 * max(positive)  # no mark stands on the edge
        return cls(
            low=max(step for step in _round(least, least, FINEST) if step <= least),
            high=min(step for step in _round(most, most, FINEST) if step >= most),
            zero=0.0 in values,
            unknown=math.inf in values,
        )

    def at(self, value: float) -> float:
        """Return the position of a number, in percent of the track."""
        if value == 0:
            return 0.0
        first, last = ZERO * self.zero, 100 - UNKNOWN * self.unknown
        if math.isinf(value):
            return 100.0
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return first + (last - first) * part

    def ticks(self) -> list[float]:
        """Return a few round numbers of the scale."""
        within = [
            [step for step in _round(self.low, self.high, f) if self.low <= step <= self.high]
            for f in (FINEST, (1, 2, 5), (1,))
        ]
        few = next((steps for steps in within if len(steps) <= MOST_TICKS), within[-1])
        return [0.0] * self.zero + few[:: -(-len(few) // MOST_TICKS)]


def draw_spans(rows: Sequence[Span], end: str, label: str) -> Markup:
    """Draw one row for each layer: a dot at the first number, another mark at the second.

    Parameters
    ----------
    rows : sequence of Span
    end : {"bound", "unseen"}
        What the second number is.
    label : str
        What the chart says, for those who cannot see it.
    """
    scale = LogScale.over(value for row in rows for value in (row.start, row.end))
    height = HEAD + ROW * len(rows)
    shown = shorten_names([row.name for row in rows], LONGEST)
    names = [
        _name(row.name, short, HEAD + ROW * k)
        for k, (row, short) in enumerate(zip(rows, shown, strict=True))
    ]
    ticks = [_tick(scale.at(tick), _percent(tick), height) for tick in scale.ticks()]
    marks = [_span(row, scale, end, HEAD + ROW * k) for k, row in enumerate(rows)]
    track = element(
        "svg", *ticks, *marks, x=f"{NAMES}%", width=f"{TRACK}%", height=height, overflow="visible"
    )
    return _chart(label, height, *names, track)


def draw_history(history: Sequence[tuple[float, float]], tol: float, label: str) -> Markup:
    """Draw the gap, on a logarithmic scale, against time.

    Parameters
    ----------
    history : sequence of (seconds, gap)
    tol : float
    label : str
        What the chart says, for those who cannot see it.
    """
    every = -(-len(history) // MOST_POINTS)
    shown = [*history[:-1:every], history[-1]]
    last = shown[-1][0]
    points = [
        (100 * seconds / last if last > 0 else 100.0, _depth(gap, tol), gap)
        for seconds, gap in shown
    ]
    lines = [
        element(
            "line", class_="course", x1=f"{a:.2f}%", y1=f"{b:.1f}", x2=f"{c:.2f}%", y2=f"{d:.1f}"
        )
        for (a, b, _), (c, d, _) in itertools.pairwise(points)
    ]
    dots = [
        element(
            "circle",
            class_="open" if gap < -tol else "dot",
            cx=f"{x:.2f}%",
            cy=f"{y:.1f}",
            r=2.5,
        )
        for x, y, gap in points
    ]
    limit = _depth(tol, tol)
    top, bottom = PLOT
    plot = element(
        "svg",
        _line("grid", 0, top, 100, top),
        _line("grid", 0, bottom, 100, bottom),
        _line("limit", 0, limit, 100, limit),
        *lines,
        *dots,
        _text("0 s", 0, bottom + 18, "start"),
        _text(format_time(last), 100, bottom + 18, "end"),
        x=f"{LEFT}%",
        width=f"{98 - LEFT}%",
        height=bottom + 24,
        overflow="visible",
    )
    return _chart(
        label,
        bottom + 24,
        _text("1", LEFT - 2, top + 4, "end"),
        _text(format_gap(tol), LEFT - 2, limit + 4, "end"),
        plot,
    )


def draw_key(mark: str) -> Markup:
    """Return a mark of `draw_spans` on its own, to be put beside its name."""
    return element("svg", _mark(mark, 50, 7), class_="key", width=14, height=14, aria_hidden="true")


def _chart(label: str, height: float, *content: str) -> Markup:
    return element(
        "svg", *content, class_="chart", role="img", aria_label=label, width="100%", height=height
    )


def _name(name: str, shown: str, top: float) -> Markup:
    """Return a layer's name beside its row, as much of it as is shown; the rest is its title."""
    return element(
        "text",
        shown,
        element("title", name),
        class_="name",
        x=f"{NAMES - 3}%",
        y=top + ROW / 2 + 4,
        text_anchor="end",
    )


def _tick(x: float, text: str, height: float) -> Markup:
    return join(_line("grid", x, HEAD - 4, x, height), _text(text, x, HEAD - 10, "middle"))


def _span(row: Span, scale: LogScale, end: str, top: float) -> Markup:
    y = top + ROW / 2
    start, stop = scale.at(row.start), scale.at(row.end)
    if math.isinf(row.end):
        return join(
            _line("unknown", start, y, 100 - UNKNOWN, y),
            _text("not known", 100, y + 4, "end"),
            _mark("dot", start, y),
        )
    return join(_line("range", start, y, stop, y), _mark(end, stop, y), _mark("dot", start, y))


def _mark(mark: str, x: float, y: float) -> Markup:
    if mark == "bound":
        return _line("bound", x, y - 7, x, y + 7)
    return element("circle", class_=mark, cx=f"{x:.2f}%", cy=y, r=5 if mark == "unseen" else 4)


def _percent(value: float) -> str:
    """Return a round number without a digit too many."""
    short = f"{100 * value:g}%"
    for long, brief in (("e+0", "e"), ("e+", "e"), ("e-0", "e-")):
        short = short.replace(long, brief)
    return short


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return element(
        "line", class_=kind, x1=f"{x1:.2f}%", y1=f"{y1:g}", x2=f"{x2:.2f}%", y2=f"{y2:g}"
    )


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", text, x=f"{x:g}%", y=f"{y:g}", text_anchor=anchor)


def _depth(gap: float, tol: float) -> float:
    """Return the height of a gap in pixels: 1 on top, a tenth of the tolerance at the bottom."""
    least = min(max(tol, 1e-15), 0.5) / 10
    size = min(max(abs(gap), least), 1.0)
    top, bottom = PLOT
    return top + (bottom - top) * math.log(size) / math.log(least)


def _round(low: float, high: float, factors: Sequence[float]) -> list[float]:
    """Return the numbers with these first digits, from below one number to above another."""
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
    return [float(f"{factor}e{decade}") for decade in decades for factor in factors]
