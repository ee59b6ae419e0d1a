"""What several sections are made of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ...base.table import format_percent
from ..blocks import BlockReport, Row
from ..outcome import Outcome
from .chart import draw_key
from .markup import Markup, element, join

__all__ = [
    "Result",
    "describe_shape",
    "fold",
    "format_count",
    "format_ratio",
    "format_shape",
    "render_facts",
    "render_figure",
    "render_name",
    "render_number",
    "render_origin",
    "render_section",
    "render_table",
]

Result = Outcome[Any]


def render_section(title: str, about: str, *content: str) -> Markup:
    """Return a section: its heading, what it is about, and what it holds."""
    return element("section", element("h2", title), element("p", about, class_="about"), *content)


def render_origin(recipe: Mapping[str, Any]) -> Markup:
    """Return what made a page, and when."""
    date = datetime.fromisoformat(recipe["date"])
    made = f"nettrim {recipe['nettrim']}, {date.day} {date:%B %Y}"
    return element("p", made, class_="muted small")


def fold(rows: Sequence[Row], all_rows: Sequence[Row], content: Markup) -> list[Markup]:
    """Return what shows every layer, to be opened, beside what shows blocks; else nothing."""
    if len(rows) == len(all_rows):
        return []
    summary = element("summary", f"all {format_count(len(all_rows), 'layer')}")
    return [element("details", summary, content)]


def render_facts(facts: Sequence[tuple[str, str]], kind: str) -> Markup:
    """Return a list of names and facts."""
    pairs = [join(element("dt", name), element("dd", fact)) for name, fact in facts]
    return element("dl", *pairs, class_=kind)


def render_table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    chosen: int | None = None,
) -> Markup:
    """Return a table with its title for screen readers.

    The total stands below the others; one of the rows may be chosen.
    """
    columns = [element("th", name, scope="col") if name else element("td") for name in headings]
    head = element("tr", *columns)
    body = [
        _row(row, class_="chosen") if number == chosen else _row(row)
        for number, row in enumerate(rows)
    ]
    foot = [] if total is None else [element("tfoot", _row(total))]
    return element(
        "table",
        element("caption", title),
        element("thead", head),
        element("tbody", *body),
        *foot,
    )


def _row(cells: Sequence[str], **attributes: str) -> Markup:
    first, others = element("th", cells[0], scope="row"), [element("td", c) for c in cells[1:]]
    return element("tr", first, *others, **attributes)


def render_figure(chart: Markup, *keys: tuple[str, str]) -> Markup:
    """Return a chart under its marks and what they stand for."""
    names = [element("span", draw_key(mark), name) for mark, name in keys]
    return element("figure", element("figcaption", *names, class_="keys"), chart)


def render_name(name: str) -> Markup:
    """Return a layer's name, which may be broken behind dots and slashes."""
    parts = re.split(r"(?<=[./])", name)
    return join(parts[0], *(join(Markup("<wbr>"), part) for part in parts[1:]))


def describe_shape(account: Row) -> str:
    """Return the shape of a layer, or how many of them there are in a block."""
    if isinstance(account, BlockReport):
        return format_count(len(account.layers), "layer")
    return format_shape(account.shape)


def format_shape(sizes: Sequence[int]) -> str:
    """Return sizes in one line."""
    return " × ".join(map(str, sizes))  # noqa: RUF001


def format_ratio(value: float) -> Markup:
    """Return a percentage, or that none is known."""
    if math.isfinite(value):
        return render_number(value, format_percent(value))
    return Markup("not measured" if math.isnan(value) else "not known")


def render_number(value: float | None, text: str) -> Markup:
    """Return a number as it is shown, which carries its value in full."""
    return element("data", text, value=value)


def format_count(number: int, thing: str) -> str:
    """Return a number of things."""
    return f"{number:,} {thing}{'s' * (number != 1)}"
