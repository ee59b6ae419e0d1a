"""Plain-text tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A heading and the side its entries stand on: "<" left, ">" right."""

    heading: str
    align: str = ">"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: Sequence[str]) -> str:
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


def share(part: int, whole: int) -> str:
    """Return a percentage, "" of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else ""
