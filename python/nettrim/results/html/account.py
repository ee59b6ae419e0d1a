"""Two sections: how many weights are left, and what that does to the outputs."""

from __future__ import annotations

from ...base.table import share
from ..outcome import LayerReport, OutputReport
from .chart import Span, key, spans
from .markup import Markup, element, joined
from .parts import Result, data, name_of, ratio, section, shape_of, table

__all__ = ["errors", "untouched", "weights"]

NONE = Markup("&ndash;")


def weights(result: Result) -> Markup:
    """Return the section on weights, a row for each layer."""
    rows = [
        [name_of(layer.name), shape_of(layer.shape), *_weights(layer)] for layer in result.layers
    ]
    total = ["network", "", *_weights(result)]
    about = "Weights that are not zero, biases not counted. Shapes are inputs by outputs."
    headings = ["Layer", "Shape", "Before", "After", "Kept", ""]
    grid = table("Weights by layer", headings, rows, total)
    return section("Weights", about, element("div", grid, class_="weights"))


def untouched(result: Result) -> list[Markup]:
    """Return the section on weights that are left alone, if there are any."""
    if not result.untouched:
        return []
    about = (
        "Every other weight of two or more dimensions: none of them was trimmed, all of them count in "
        "the share of zeros at the top."
    )
    rows: list[list[str]] = [
        [
            name_of(weight.name),
            shape_of(weight.shape),
            data(weight.nonzeros, f"{weight.nonzeros:,}"),
            weight.reason,
        ]
        for weight in result.untouched
    ]
    nonzeros = sum(weight.nonzeros for weight in result.untouched)
    total = ["together", "", data(nonzeros, f"{nonzeros:,}"), ""]
    headings = ["Weight", "Shape", "Not zero", "Because"]
    return [section("Left alone", about, table("Weights left alone", headings, rows, total))]


def _weights(account: LayerReport | Result) -> list[str]:
    """Return the cells that a layer and the network have in common."""
    before, after = account.nonzeros_before, account.nonzeros_after
    return [
        data(before, f"{before:,}"),
        data(after, f"{after:,}"),
        share(after, before),
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


def errors(result: Result) -> Markup:
    """Return the section on errors: what was allowed, measured and proved, drawn and in numbers."""
    unseen = result.held_out_discrepancy is not None
    headings = ["Layer", "Allowed", "Measured", *(["Unseen"] if unseen else []), "Proved"]
    rows = [
        [
            name_of(layer.name),
            NONE if layer.epsilon is None else ratio(layer.epsilon),
            *_error(layer),
        ]
        for layer in result.layers
    ]
    about = (
        "How far the output of each layer has moved, relative to its size. Allowed: what the program "
        "of the layer was given. Measured: what came out in the trimmed network. "
    )
    about += "Unseen: the same on samples the solver did not see. " if unseen else ""
    about += "Proved: more it cannot be on the calibration samples."
    if len(result.outputs) > 1:
        rows += [[joined("output ", name_of(o.name)), NONE, *_error(o)] for o in result.outputs]
    grid = table("Errors by layer", headings, rows, ["network", "", *_error(result)])
    return section("Error", about, element("div", *_charts(result), class_="charts"), grid)


def _error(account: LayerReport | OutputReport | Result) -> list[Markup]:
    """Return the cells that a layer and the network have in common."""
    values = account.discrepancy, account.held_out_discrepancy, account.bound
    return [ratio(value) for value in values if value is not None]


def _charts(result: Result) -> list[Markup]:
    accounts: list[tuple[str, LayerReport | Result]] = [("network", result)]
    accounts[:0] = [(layer.name, layer) for layer in result.layers]
    proved = [Span(name, account.discrepancy, account.bound) for name, account in accounts]
    label = "Measured error and proved bound of every layer; the table below has the numbers"
    figures = [
        _figure(spans(proved, "bound", label), ("dot", "measured"), ("bound", "proved bound"))
    ]
    unseen = [
        Span(name, account.discrepancy, account.held_out_discrepancy)
        for name, account in accounts
        if account.held_out_discrepancy is not None
    ]
    if unseen:
        label = "Error on calibration and unseen samples; the table below has the numbers"
        keys = ("dot", "calibration samples"), ("unseen", "unseen samples")
        figures.append(_figure(spans(unseen, "unseen", label), *keys))
    return figures


def _figure(chart: Markup, *keys: tuple[str, str]) -> Markup:
    names = [element("span", key(mark), name) for mark, name in keys]
    return element("figure", element("figcaption", *names, class_="keys"), chart)
