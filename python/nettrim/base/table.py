"""Plain-text tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LONGEST, GAP = 24, "..."  # characters of a name in a table, and what stands for its middle


class TableColumn(NamedTuple):
    """A heading and the side its entries stand on: "<" left, ">" right."""

    heading: str
    align: str = ">"


def format_table(
    columns: Sequence[TableColumn], rows: Sequence[Sequence[str]], total: Sequence[str]
) -> str:
    """Lay out rows of text under headings, each column as wide as its widest entry."""
    lines = [[column.heading for column in columns], *rows, total]
    widths = [max(map(len, entries)) for entries in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            f"{entry:{column.align}{width}}"
            for entry, column, width in zip(line, columns, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def shorten_names(names: Sequence[str], length: int = LONGEST) -> list[str]:
    """Return names without the middle of long ones; different ones stay different.

    Where `length` characters do not suffice for that, all may have as many more as it takes.
    """
    plain = [name if name.isprintable() else repr(name)[1:-1] for name in names]
    for most in range(length, max(map(len, plain), default=0)):
        short = [_without_middle(name, most) for name in plain]
        if len(set(short)) == len(set(plain)):
            return short
    return plain


def _without_middle(name: str, most: int) -> str:
    head = (most - len(GAP)) // 3
    tail = most - len(GAP) - head
    return name if len(name) <= most else f"{name[:head]}{GAP}{name[-tail:]}"


def format_share(part: int, whole: int) -> str:
    """Return a percentage, "" of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else ""


def format_percent(value: float | None) -> str:
    """Return three digits of a percentage; powers of ten where it is very large or small."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return "-"
    percent = 100 * value
    if percent != 0 and not 0.005 <= percent < 9999.5:
        return f"{percent:.0e}%"
    return f"{percent:.{2 if percent < 9.995 else 1 if percent < 99.95 else 0}f}%"
