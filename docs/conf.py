"""Settings of the documentation: ``sphinx-build -W --keep-going -n docs docs/_build``."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import nettrim

project = "nettrim"
author = "The nettrim developers"
copyright = author
version = release = nettrim.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
default_role = "autolink"
nitpick_ignore_regex = [("py:.*", r"(collections|concurrent|numpy|onnx|scipy|sklearn|torch)\..*")]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_mock_imports = [] if find_spec("torch") else ["torch"]
autosummary_generate = False
numpydoc_show_class_members = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"nettrim {version}"
html_static_path = ["_static"]
html_css_files = ["nettrim.css"]
html_copy_source = False

CITED = re.compile(r"docs/(?P<page>[\w/]+)\.md#(?P<anchor>[\w-]+)")


def link_citations(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make links of what docstrings cite of these pages."""
    lines[:] = [CITED.sub(r"`\g<page> <../\g<page>.html#\g<anchor>>`__", line) for line in lines]


def setup(app: Any) -> None:
    """Register the link of citations."""
    app.connect("autodoc-process-docstring", link_citations)
