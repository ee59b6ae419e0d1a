"""The section with a card for each layer: weights before and after, and the way of the solve."""

from __future__ import annotations

from ...base.table import format_percent
from ...models.layer_view import LayerView
from ...models.model_view import find_layers, view_both
from ..blocks import sum_up
from ..outcome import LayerReport
from ..recipe import tolerance_of
from ..text import format_gap, format_time
from .chart import draw_history
from .markup import Markup, element, join
from .parts import (
    Result,
    fold,
    format_shape,
    render_facts,
    render_name,
    render_number,
    render_section,
)
from .pattern import CELLS, draw_pattern

__all__ = ["render_layers"]


def render_layers(result: Result) -> Markup:
    """Return the section."""
    tol = tolerance_of(result.recipe)  # no course is drawn without
    names = [layer.name for layer in result.layers]
    views = view_both(result.original, result.model)
    before, after = (find_layers(view, names) for view in views)
    about = (
        "Where weights are, inputs from top to bottom and outputs from left to right; with more "
        f"than {CELLS} of either a cell stands for several weights, fainter where fewer are left. "
        "Beside them the gap to the proved optimum as the layer was solved, down to the tolerance "
        "(dashed). A solve goes on until the weights are feasible as well; those of hollow points, "
        "where the gap is negative, were not."
    )
    cards = [_layer(*three, tol) for three in zip(result.layers, before, after, strict=True)]
    folded = fold(sum_up(result.layers), result.layers, join(*cards))
    return render_section("Layer by layer", about, *(folded or cards))


def _layer(report: LayerReport, before: LayerView, after: LayerView, tol: float) -> Markup:
    return element(
        "article",
        element(
            "div", element("h3", render_name(report.name)), render_facts(_answer(report), "facts")
        ),
        _pattern(report, "before", report.nonzeros_before, before),
        _pattern(report, "after", report.nonzeros_after, after),
        element(
            "figure", element("figcaption", "gap against time"), _course(report, tol), class_="wide"
        ),
        class_="layer",
    )


def _answer(report: LayerReport) -> list[tuple[str, str]]:
    status = report.status if report.converged else element("span", report.status, class_="bad")
    facts = [("shape", format_shape(report.shape)), ("status", status)]
    if report.gap is not None:
        facts.append(("gap", render_number(report.gap, format_gap(report.gap))))
        if report.l1_gap is not None and report.l1_gap != report.gap:  # of a last round's costs
            facts.append(("l1 norm", f"{format_percent(report.l1_gap)} above the least"))
        facts.append(("iterations", f"{report.iterations:,}"))
    if report.active_rows is not None:
        facts.append(("active rows", f"{report.active_rows:,}"))
    if report.seconds is not None:
        facts.append(("time", format_time(report.seconds)))
    return facts


def _pattern(report: LayerReport, version: str, nonzeros: int, layer: LayerView) -> Markup:
    size = layer.affine.weights.size
    alt = f"Pattern of {report.name} {version}: {nonzeros:,} of {size:,} weights are not zero"
    return element(
        "figure",
        element("figcaption", f"{version}: {nonzeros:,} weights"),
        element("img", src=draw_pattern(layer.affine.weights), alt=alt),
    )


def _course(report: LayerReport, tol: float) -> Markup:
    if not report.history:
        reason = "nobody can prove which weights of a number are best"
        if not report.pruned:
            reason = "the layer was not solved for"
        return element("p", f"None to show: {reason}.", class_="muted small")
    label = (
        f"Gap of {report.name} against time: {format_gap(report.history[0][1])} at first, "
        f"{format_gap(report.history[-1][1])} after {format_time(report.history[-1][0])}"
    )
    return draw_history(report.history, tol, label)
