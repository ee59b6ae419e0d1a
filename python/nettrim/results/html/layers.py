"""The section with a card for each layer: its weights before and after, and the way of its solve."""

from __future__ import annotations

from ...models.model_view import LayerView, layers_named
from ..outcome import LayerReport
from ..text import gap_of, time_of
from .chart import course
from .markup import Markup, element
from .parts import Result, data, facts_of, name_of, section, shape_of
from .pattern import CELLS, picture

__all__ = ["layers"]


def layers(result: Result) -> Markup:
    """Return the section."""
    tol = result.recipe["arguments"].get("tol", 0.0)  # no course is drawn without
    names = [layer.name for layer in result.layers]
    before, after = (layers_named(model, names) for model in (result.original, result.model))
    about = (
        "Where weights are, inputs from top to bottom and outputs from left to right; with more than "
        f"{CELLS} of either a cell stands for several weights, fainter where fewer are left. Beside "
        "them the gap to the proved optimum as the layer was solved, down to the tolerance (dashed). "
        "A solve goes on until the weights are feasible as well; those of hollow points, where the "
        "gap is negative, were not."
    )
    cards = [_layer(*three, tol) for three in zip(result.layers, before, after, strict=True)]
    return section("Layer by layer", about, *cards)


def _layer(report: LayerReport, before: LayerView, after: LayerView, tol: float) -> Markup:
    return element(
        "article",
        element("div", element("h3", name_of(report.name)), facts_of(_answer(report), "facts")),
        _pattern(report, "before", report.nonzeros_before, before),
        _pattern(report, "after", report.nonzeros_after, after),
        element(
            "figure", element("figcaption", "gap against time"), _course(report, tol), class_="wide"
        ),
        class_="layer",
    )


def _answer(report: LayerReport) -> list[tuple[str, str]]:
    status = report.status if report.converged else element("span", report.status, class_="bad")
    facts = [("shape", shape_of(report.shape)), ("status", status)]
    if report.gap is not None:
        facts += [
            ("gap", data(report.gap, gap_of(report.gap))),
            ("iterations", f"{report.iterations:,}"),
        ]
    if report.active_rows is not None:
        facts.append(("active rows", f"{report.active_rows:,}"))
    if report.seconds is not None:
        facts.append(("time", time_of(report.seconds)))
    return facts


def _pattern(report: LayerReport, version: str, nonzeros: int, layer: LayerView) -> Markup:
    size = layer.affine.weights.size
    alt = f"Pattern of {report.name} {version}: {nonzeros:,} of {size:,} weights are not zero"
    return element(
        "figure",
        element("figcaption", f"{version}: {nonzeros:,} weights"),
        element("img", src=picture(layer.affine.weights), alt=alt),
    )


def _course(report: LayerReport, tol: float) -> Markup:
    if not report.history:
        reason = "nobody can prove which weights of a number are best"
        if not report.pruned:
            reason = "the layer was not solved for"
        return element("p", f"None to show: {reason}.", class_="muted small")
    label = (
        f"Gap of {report.name} against time: {gap_of(report.history[0][1])} at first, "
        f"{gap_of(report.history[-1][1])} after {time_of(report.history[-1][0])}"
    )
    return course(report.history, tol, label)
