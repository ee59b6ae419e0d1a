"""The section on what is promised of future samples, and the tests it stands on."""

from __future__ import annotations

from ...base.table import format_percent, format_share
from .markup import Markup, element
from .parts import Result, render_number, render_section, render_table

__all__ = ["render_promise"]


def render_promise(result: Result) -> list[Markup]:
    """Return the section, if something was to be promised."""
    promise = result.promise
    if promise is None:
        return []
    about = (
        "Models from careful to bold, in an order that was fixed without the held-out samples, "
        "until one failed there; the last that passed is this one. Held-out and future samples are "
        "taken to be drawn alike, and held-out ones to be used for this promise alone."
    )
    rows: list[list[str]] = [
        [
            f"{model.level:.4g}",
            format_share(model.nonzeros, model.size),
            render_number(model.seen, format_percent(model.seen)),
            render_number(model.p_value, f"{model.p_value:.2g}"),
            "passed" if model.passed else "failed",
        ]
        for model in promise.models
    ]
    sentence = element("p", element("strong", promise.sentence), class_="note", role="note")
    headings = [promise.path.capitalize(), "Kept", "Seen", "p-value", "Test"]
    passed = [number for number, model in enumerate(promise.models) if model.passed]
    chosen = passed[-1] if passed else None
    tables = [render_table("Models tested", headings, rows, chosen=chosen)] if rows else []
    return [render_section("Promise", about, sentence, *tables)]
