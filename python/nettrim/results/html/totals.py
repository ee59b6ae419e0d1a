"""Two sections: how many weights are left, and what that does to the outputs."""

from __future__ import annotations

from collections.abc import Sequence

from ...base.table import format_share
from ..blocks import Row, sum_up
from ..outcome import OutputReport
from ..widths import Count
from .chart import Span, draw_spans
from .markup import Markup, element, join
from .parts import (
    Result,
    describe_shape,
    fold,
    format_ratio,
    format_shape,
    render_figure,
    render_name,
    render_number,
    render_section,
    render_table,
)

__all__ = [
    "render_errors",
    "render_unseen",
    "render_untouched",
    "render_weights",
    "render_widths",
]

NONE = Markup("&ndash;")


def render_weights(result: Result) -> Markup:
    """Return the section on weights, a row for each layer or block."""
    about = "Weights that are not zero, biases not counted. Shapes are inputs by outputs."
    rows = sum_up(result.layers)
    table = _weights_table(result, rows, "Weights by layer")
    every = _weights_table(result, result.layers, "Weights of all layers")
    return render_section("Weights", about, table, *fold(rows, result.layers, every))


def _weights_table(result: Result, accounts: Sequence[Row], title: str) -> Markup:
    rows = [
        [render_name(account.name), describe_shape(account), *_weights(account)]
        for account in accounts
    ]
    total = ["network", "", *_weights(result)]
    headings = ["Layer", "Shape", "Before", "After", "Kept", ""]
    return element("div", render_table(title, headings, rows, total), class_="weights")


def render_widths(result: Result) -> list[Markup]:
    """Return the section on units that are gone, if some could go."""
    if result.widths is None:
        return []
    about = (
        "What lies between layers: units, channels, heads. A signal is called like the first layer "
        "that writes it."
    )
    counts = [signal.units for signal in result.widths.signals]
    names = [render_name(signal.name) for signal in result.widths.signals]
    rows = [[name, *_width(count)] for name, count in zip(names, counts, strict=True)]
    rows.append(["parameters", *_width(result.widths.parameters)])
    total = ["operations", *_width(result.widths.operations)]
    table = render_table("Units by signal", ["Signal", "Before", "After", "Kept", ""], rows, total)
    return [render_section("Units", about, element("div", table, class_="weights"))]


def render_untouched(result: Result) -> list[Markup]:
    """Return the section on weights that are left alone, if there are any."""
    if not result.untouched:
        return []
    about = (
        "Every other weight of two or more dimensions: none of them was trimmed, all of them count "
        "in the share of zeros at the top."
    )
    rows: list[list[str]] = [
        [
            render_name(weight.name),
            format_shape(weight.shape),
            render_number(weight.nonzeros, f"{weight.nonzeros:,}"),
            weight.reason,
        ]
        for weight in result.untouched
    ]
    nonzeros = sum(weight.nonzeros for weight in result.untouched)
    total = ["together", "", render_number(nonzeros, f"{nonzeros:,}"), ""]
    headings = ["Weight", "Shape", "Not zero", "Because"]
    return [
        render_section(
            "Left alone", about, render_table("Weights left alone", headings, rows, total)
        )
    ]


def _weights(account: Row | Result) -> list[str]:
    """Return the cells that a layer and the network have in common."""
    return _width(Count(account.nonzeros_before, account.nonzeros_after))


def _width(count: Count) -> list[str]:
    """Return what there was, what is left, and its share, in numbers and as a bar."""
    before, after = count
    return [
        render_number(before, f"{before:,}"),
        render_number(after, f"{after:,}"),
        format_share(after, before),
        _bar(after, before),
    ]


def _bar(part: int, whole: int) -> Markup:
    """Return a bar filled in part."""
    width = 100 * part / whole if whole else 0.0
    return element(
        "svg",
        element("rect", class_="whole", width="100%", height="10"),
        element("rect", class_="kept", width=f"{width:.2f}%", height="10"),
        class_="bar",
        aria_hidden="true",
    )


def render_errors(result: Result) -> Markup:
    """Return the section on errors: what was allowed, measured and proved, drawn and in numbers."""
    rows = sum_up(result.layers)
    about = (
        "How far the output of each layer has moved, relative to its size. Allowed: what the "
        "program of the layer was given. Measured: what came out in the trimmed network. "
    )
    if result.held_out_discrepancy is not None:
        about += "Unseen: the same on samples the solver did not see. "
    about += "Proved: more it cannot be on the calibration samples."
    if len(rows) < len(result.layers):
        about += " Of a block, the largest of its layers."
    charts = element("div", *_charts(result, rows), class_="charts")
    table = _errors_table(result, rows, "Errors by layer")
    every = _errors_table(result, result.layers, "Errors of all layers")
    return render_section("Error", about, charts, table, *fold(rows, result.layers, every))


def render_unseen(result: Result) -> list[Markup]:
    """Return the section on future samples, if held-out ones say something of them."""
    if result.unseen is None:
        return []
    items = [element("li", sentence) for sentence in result.unseen.sentences]
    about = (
        f"{result.unseen.title}, if the model was not chosen by them and future samples are drawn "
        "as they were."
    )
    return [render_section("Unseen samples", about, element("ul", *items))]


def _errors_table(result: Result, accounts: Sequence[Row], title: str) -> Markup:
    unseen = ["Unseen"] if result.held_out_discrepancy is not None else []
    headings = ["Layer", "Allowed", "Measured", *unseen, "Proved"]
    rows = [
        [
            render_name(account.name),
            NONE if account.epsilon is None else format_ratio(account.epsilon),
            *_error(account),
        ]
        for account in accounts
    ]
    if len(result.outputs) > 1:
        rows += [[join("output ", render_name(o.name)), NONE, *_error(o)] for o in result.outputs]
    return render_table(title, headings, rows, ["network", "", *_error(result)])


def _error(account: Row | OutputReport | Result) -> list[Markup]:
    """Return the cells that a layer and the network have in common."""
    values = account.discrepancy, account.held_out_discrepancy, account.bound
    return [format_ratio(value) for value in values if value is not None]


def _charts(result: Result, rows: Sequence[Row]) -> list[Markup]:
    accounts: list[tuple[str, Row | Result]] = [*((row.name, row) for row in rows)]
    accounts.append(("network", result))
    accounts = [(name, account) for name, account in accounts if account.is_measured]
    proved = [Span(name, account.discrepancy, account.bound) for name, account in accounts]
    label = "Measured error and proved bound of every layer; the table below has the numbers"
    keys = ("dot", "measured"), ("bound", "proved bound")
    figures = [render_figure(draw_spans(proved, "bound", label), *keys)]
    unseen = [
        Span(name, account.discrepancy, account.held_out_discrepancy)
        for name, account in accounts
        if account.held_out_discrepancy is not None
    ]
    if unseen:
        label = "Error on calibration and unseen samples; the table below has the numbers"
        keys = ("dot", "calibration samples"), ("unseen", "unseen samples")
        figures.append(render_figure(draw_spans(unseen, "unseen", label), *keys))
    return figures
