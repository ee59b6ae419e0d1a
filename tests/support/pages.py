"""Reading HTML pages back: is it one well-formed document, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"br", "img", "link", "meta", "wbr"}


@dataclass
class Element:
    """A tag with its attributes and all the text inside."""

    tag: str
    attributes: dict[str, str | None]
    parents: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Everything in a document, in its order; an end without a start is an error."""

    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)
    declarations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} comes twice"
        element = Element(tag, dict(attrs), tuple(e.tag for e in self.open))
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing"
        assert self.open[-1].tag == tag, f"</{tag}> stands where </{self.open[-1].tag}> is due"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        assert self.open or not data.strip(), f"text outside of the document: {data!r}"
        for element in self.open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements of a tag with these attributes."""
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [e for e in self.elements if e.tag == tag and wanted.items() <= e.attributes.items()]

    def rows(self, table: str) -> list[list[Element]]:
        """Cells of every row in the table with this caption, its heading left out."""
        found: list[list[Element]] = []
        inside = False
        for e in self.elements:
            if e.tag == "caption":
                inside = e.text == table
            if inside and e.tag == "tr" and "thead" not in e.parents:
                found.append([])
            if inside and e.tag in ("th", "td") and "thead" not in e.parents:
                found[-1].append(e)
        return found


def read(text: str) -> Page:
    """Parse a document that must be whole."""
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.declarations == ["DOCTYPE html"]
    for tag in ("html", "head", "body", "main", "h1"):
        assert len(page.all(tag)) == 1, tag
    assert sum("head" in title.parents for title in page.all("title")) == 1
    return page


def numbers(page: Page, table: str) -> list[list[Any]]:
    """The numbers in full that the rows of a table carry, each row after its name."""
    found: list[list[Any]] = []
    inside = False
    for e in page.elements:
        if e.tag == "caption":
            inside = e.text == table
        elif inside and e.tag == "tr" and "thead" not in e.parents:
            found.append([])
        elif inside and e.tag == "th" and "thead" not in e.parents:
            found[-1].append(e.text)
        elif inside and e.tag == "data" and "table" in e.parents:
            found[-1].append(float(str(e.attributes["value"])))
    return found
