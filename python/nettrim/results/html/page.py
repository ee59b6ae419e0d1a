"""The page of a result: its top, its sections, and the recipe at its end."""

from __future__ import annotations

import json
import math
from pathlib import Path
from string import Template
from typing import Any

from ...base.table import format_percent, format_share
from ..accuracy import Accuracy
from ..outcome import BUDGET, KEPT, UNREACHED
from ..recipe import format_snippet, tolerance_of
from ..text import (
    format_gap,
    format_headline,
    format_measured,
    format_time,
    join_names,
    list_cautions,
)
from .layers import render_layers
from .markup import Markup, element, join
from .parts import Result, format_count, format_shape, render_facts, render_origin, render_section
from .promised import render_promise
from .totals import (
    render_errors,
    render_unseen,
    render_untouched,
    render_weights,
    render_widths,
)

__all__ = ["render_page"]

# Arguments that say what for.
GOALS = ("epsilon", "network", "sparsity", "pattern", "size", "operations", "goal")
TEMPLATE = Path(__file__).with_name("page.html")


def render_page(result: Result, accuracy: Accuracy | None) -> str:
    """Return the page as text."""
    sections = (
        _header(result),
        _headline(result, accuracy),
        *render_promise(result),
        *render_widths(result),
        render_weights(result),
        *render_untouched(result),
        render_errors(result),
        *render_unseen(result),
        render_layers(result),
        _recipe(result.recipe),
    )
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=f"{format_headline(result)} - nettrim",
        body="\n".join(sections),
        recipe=json.dumps(result.recipe).replace("<", "\\u003c"),  # no tag ends the script early
    )


def _header(result: Result) -> Markup:
    recipe = result.recipe
    sentence = (
        f"A network of {format_count(len(result.layers), 'prunable layer')}, trimmed in the "
        f"{result.scheme} scheme {_goal(recipe['arguments'])} on "
        f"{result.n_samples:,} calibration samples."
    )
    return element(
        "header",
        render_origin(recipe),
        element("h1", format_headline(result)),
        element("p", sentence, class_="about"),
        *_warnings(result),
    )


def _goal(arguments: dict[str, Any]) -> str:
    given = {name: arguments.get(name) for name in GOALS}
    return "with " + " and ".join(
        f"{name} {value}" for name, value in given.items() if value is not None
    )


def _warnings(result: Result) -> list[Markup]:
    """Say what a reader must not overlook."""
    found = []
    stopped = [layer for layer in result.layers if layer.pruned and not layer.converged]
    if stopped:
        names = join_names(
            [f"{layer.name} ({layer.status}, gap {format_gap(layer.gap)})" for layer in stopped]
        )
        text = (
            f"{names}. The answers are used, but few nonzeros there may be false sparsity. What is "
            "measured and proved about the error holds all the same."
        )
        found.append(_note("Not solved to the tolerance: ", text, "note warning"))
    if result.interrupted:
        left = [layer.name for layer in result.layers if layer.status == UNREACHED]
        text = f"layers not reached, and left as they were: {join_names(left) or 'none'}."
        if not result.is_measured:
            text += " Errors were not all measured."
        found.append(_note("Interrupted: ", text, "note warning"))
    if math.isinf(result.bound):
        text = (
            "the model has a step of which nothing bounds how far it stretches its input. The "
            "measured error stands."
        )
        found.append(_note("No bound is known for the output: ", text, "note"))
    found += [_note(f"{head}: ", text, "note warning") for head, text in list_cautions(result)]
    return found


def _note(head: str, text: str, kind: str) -> Markup:
    return element("p", element("strong", head), text, class_=kind, role="note")


def _headline(result: Result, accuracy: Accuracy | None) -> Markup:
    before, after = result.nonzeros_before, result.nonzeros_after
    boxes = [
        ("Weights", f"{before:,} → {after:,}", f"not zero, {format_share(after, before)} are left"),
        ("Change of the output", format_percent(result.discrepancy), _proved(result)),
    ]
    if result.held_out_discrepancy is not None:
        unseen = format_percent(result.held_out_discrepancy)
        boxes.append(("On unseen samples", unseen, "measured; no bound speaks of these"))
    if accuracy is not None:
        scores = f"{accuracy.before:.2%} → {accuracy.after:.2%}"
        boxes.append(("Accuracy", scores, f"on {accuracy.n_samples:,} labelled samples"))
    boxes += [
        (name, " → ".join(map(format_measured, values)), "as your function measures it")
        for name, values in result.measured.items()
    ]
    return element("dl", *(_box(*box) for box in [*boxes, _solved(result)]), class_="headline")


def _proved(result: Result) -> str:
    if not result.is_measured:
        return "not measured"
    if math.isinf(result.bound):
        return "no bound known"
    return f"proved to be at most {format_percent(result.bound)}"


def _solved(result: Result) -> tuple[str, str, str]:
    """Say how many layers are what was asked for, and what is proved of that."""
    wanted = [layer for layer in result.layers if layer.status != KEPT]
    figure = f"{sum(layer.converged for layer in wanted)} of {format_count(len(wanted), 'layer')}"
    seconds = f", in {format_time(result.seconds)}"
    if any(layer.status == BUDGET for layer in wanted):
        return "Trimmed", figure, f"to the number of weights they may keep{seconds}"
    tol = element("span", format_gap(tolerance_of(result.recipe)), class_="unbroken")
    return "Solved", figure, join("to a proved gap of ", tol, seconds)


def _box(title: str, figure: str, note: str) -> Markup:
    content = [element("dt", title), element("dd", figure, class_="figure"), element("dd", note)]
    return element("div", *content)


def _recipe(recipe: dict[str, Any]) -> Markup:
    environment = recipe["environment"]
    build = environment["build"]
    libraries = f"NumPy {environment['numpy']}, SciPy {environment['scipy']}"
    facts: list[tuple[str, str]] = [
        ("date", recipe["date"]),
        ("model", recipe["model"]["type"]),
        ("weights", _hash(recipe["model"])),
        ("data", _samples(recipe["calibration"])),
    ]
    if recipe["held_out"] is not None:
        facts.append(("unseen", _samples(recipe["held_out"])))
    facts += [
        ("nettrim", f"{recipe['nettrim']}, {build['isa']} core built with {build['compiler']}"),
        ("beside it", f"Python {environment['python']}, Eigen {build['eigen']}, {libraries}"),
    ]
    about = (
        "The same call on the same model and data gives the same weights, to the last bit if build "
        "and number of threads are the same and no time limit ended a solve. Hashes are SHA-256 of "
        "the numbers, not of files; the last two lines check them."
    )
    code = element("pre", element("code", format_snippet(recipe)))
    return render_section("Recipe", about, render_facts(facts, "facts recipe"), code)


def _samples(data: dict[str, Any]) -> Markup:
    shape = data["shape"]
    if isinstance(shape, dict):  # of several inputs
        told = ", ".join(f"{name} {format_shape(sizes)}" for name, sizes in shape.items())
    else:
        told = format_shape(shape)
    return join(told, ", ", _hash(data))


def _hash(thing: dict[str, Any]) -> Markup:
    return element("span", thing["sha256"], class_="hash")
