"""HTML elements from plain text: what is not markup already is escaped."""

from __future__ import annotations

from html import escape

__all__ = ["Markup", "element", "join"]


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: object) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
    *content : str or Markup
        Plain text is escaped, markup is taken as it is.
    **attributes
        Escaped. An underscore stands for a hyphen, one at the end is dropped (``class_``); what is
        None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name == "img" else f"</{name}>"
    return Markup(f"<{name}{written}>{join(*content)}{end}")


def join(*content: str) -> Markup:
    """Return text and markup one after another."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in content))
