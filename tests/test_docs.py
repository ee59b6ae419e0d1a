"""The Python of README and documentation runs, page by page, and what code cites is there."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IMPORTED = re.compile(r"^\s*(?:import|from) (torch|onnx|sklearn)\b", re.MULTILINE)
NEEDED = {"nettrim.torch": "torch", "nettrim.parsimonious": "torch"}
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SOURCES = {".py", ".cpp", ".hpp"}
CITED = re.compile(r"docs/([\w/]+\.md)(?:#([\w-]+))?")


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Return what a heading is called in an address: lower case, words joined by hyphens."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=named)
def test_python_of_page(page, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(blocks(page), start=1):
        for module in IMPORTED.findall(block):
            pytest.importorskip(module)
        for module, needed in NEEDED.items():
            if module in block:
                pytest.importorskip(needed)
        name = f"{named(page)}, block {number}"
        code = compile(block, name, "exec", dont_inherit=True)
        exec(code, namespace)  # noqa: S102 (of this repository's own pages)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_of_page(page) -> None:
    targets = [link.partition("#") for link in LINK.findall(page.read_text(encoding="utf-8"))]
    pages = [((page.parent / path if path else page), anchor) for path, _, anchor in targets]
    missing = [
        f"{path.name}#{anchor}"
        for path, anchor in pages
        if not path.exists() or (anchor and anchor not in anchors(path))
    ]
    assert missing == []


def test_citations_of_the_documentation() -> None:
    sources = [p for p in ROOT.glob("*/**/*") if p.suffix in SOURCES]
    cited = {c for p in sources for c in CITED.findall(p.read_text(encoding="utf-8"))}
    missing = [
        f"docs/{page}#{anchor}"
        for page, anchor in sorted(cited)
        if not (DOCS / page).exists() or (anchor and anchor not in anchors(DOCS / page))
    ]
    assert missing == []


def imports(file: Path) -> set[str]:
    """Return the packages of nettrim that a file of one of them imports from."""
    here = file.relative_to(ROOT / "python").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = here[: len(here) + 1 - node.level] if node.level else ()
            path = [*above, *(node.module or node.names[0].name).split(".")]
            if path[0] == "nettrim" and len(path) > 1:
                found.add(path[1])
    return found


def test_no_import_points_up_in_the_picture_of_the_architecture() -> None:
    floors = runpy.run_path(str(DOCS / "figures.py"))["FLOORS"]
    floor_of = {box.name: floor for floor, boxes in enumerate(floors) for box in boxes}
    package = ROOT / "python" / "nettrim"
    upwards = [
        f"{file.relative_to(package)} imports from {other}"
        for name, floor in floor_of.items()
        for file in [*package.glob(f"{name}.py"), *package.glob(f"{name}/**/*.py")]
        for other in imports(file) - {name}
        if floor_of.get(other, len(floors)) <= floor
    ]
    assert upwards == []
    assert all(list(package.glob(f"{name}*")) for name in floor_of)
