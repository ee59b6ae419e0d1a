"""The page of a path: its models in a table and in charts."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

from ..traced_path import TracedPath
from .chart import Span, draw_spans
from .markup import Markup, element
from .parts import format_count, render_figure, render_origin, render_section, render_table

__all__ = ["render_trace_page"]

TEMPLATE = Path(__file__).with_name("page.html")


def render_trace_page(trace: TracedPath[Any]) -> str:
    """Return the page as text."""
    title = f"{format_count(len(trace.points), 'model')} from careful to bold"
    recipe = trace.results[0].recipe
    about = (
        f"One network, trimmed in the {trace.results[0].scheme} scheme to the {trace.path} of each "
        f"row, on {trace.results[0].n_samples:,} calibration samples."
    )
    head = element(
        "header",
        render_origin(recipe),
        element("h1", title),
        element("p", about, class_="about"),
    )
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=f"{title} - nettrim",
        body="\n".join([head, _models(trace)]),
        recipe=json.dumps([result.recipe for result in trace.results]).replace("<", "\\u003c"),
    )


def _models(trace: TracedPath[Any]) -> Markup:
    headings = [trace.path.capitalize(), *(name.capitalize() for name in trace.headings)]
    rows = [[f"{point.level:.4g}", *trace.cells(point)] for point in trace.points]
    about = "Weights kept, errors of the network's output, and how often its answer is another one."
    charts = element("div", *_charts(trace), class_="charts")
    table = element("div", render_table("Models", headings, rows), class_="scroll")
    notes = [element("p", f"{note}.", class_="muted small about") for note in trace.notes]
    return render_section("Models", about, charts, table, *notes)


def _charts(trace: TracedPath[Any]) -> list[Markup]:
    names = [f"{trace.path} {point.level:.4g}" for point in trace.points]
    pairs = list(zip(names, trace.points, strict=True))
    errors = [Span(n, p.error, p.unseen) for n, p in pairs if p.unseen is not None]
    flips = [
        Span(n, p.flips, p.flips_limit)
        for n, p in pairs
        if p.flips is not None and p.flips_limit is not None
    ]
    figures = []
    if errors:
        label = "Error on calibration and on held-out samples; the table has the numbers"
        keys = ("dot", "calibration samples"), ("unseen", "held-out samples")
        figures.append(render_figure(draw_spans(errors, "unseen", label), *keys))
    if flips:
        label = "Flips of held-out samples, and of future ones at most; the table has the numbers"
        keys = ("dot", "flips seen"), ("bound", "of future samples at most")
        figures.append(render_figure(draw_spans(flips, "bound", label), *keys))
    return figures
