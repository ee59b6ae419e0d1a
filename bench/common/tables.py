"""Results on disk: one JSON file that programs read and one Markdown table that people read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.common.machine import header_line

Row = dict[str, Any]
RESULTS = Path(__file__).parents[1] / "results"


class Table:
    """Rows under one header, saved after every row, so that a killed run goes on where it was.

    ``keys`` name the columns that say what a row is about. A file that was measured on another
    machine, with other threads or other versions is not continued: numbers of two kinds in one
    table compare nothing.
    """

    def __init__(self, path: Path, title: str, keys: Sequence[str], header: dict[str, Any]) -> None:
        self.path, self.title, self.keys, self.header = path, title, tuple(keys), header
        self.rows: list[Row] = []
        if path.with_suffix(".json").exists():
            stored = json.loads(path.with_suffix(".json").read_text())
            if stored["header"] != header:
                raise SystemExit(
                    f"{path}.json was measured under {stored['header']}; move it away first"
                )
            self.rows = stored["rows"]

    def has(self, **about: Any) -> bool:
        return any(all(row[key] == about[key] for key in self.keys) for row in self.rows)

    def add(self, row: Row) -> None:
        """Add one finished row and put the files in place of the old ones."""
        self.rows.append(row)
        content = {"title": self.title, "header": self.header, "rows": self.rows}
        replace(self.path.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
        replace(self.path.with_suffix(".md"), self.markdown())
        print(" | ".join(f"{key} {show(value)}" for key, value in row.items()), flush=True)

    def markdown(self) -> str:
        names = list(self.rows[0])
        lines = [names, ["---"] * len(names), *([show(row[n]) for n in names] for row in self.rows)]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"# {self.title}\n\n{header_line(self.header)}\n\n{body}\n"


def replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def show(value: Any) -> str:
    """A cell: numbers to four digits, lists spelled out."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(show(entry) for entry in value)
    return "" if value is None else str(value)
