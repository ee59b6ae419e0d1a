"""Settings of the documentation: ``sphinx-build -W --keep-going -n docs docs/_build``."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms.post_transforms import SphinxPostTransform

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
nitpick_ignore_regex = [
    ("py:.*", r"(collections|concurrent|numpy|onnx|scipy|sklearn|torch)\..*"),  # of others
    ("py:obj", r"\w+"),  # parameters
]

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

CITED = re.compile(r"docs/(?P<page>[\w/]+)\.md(?P<anchor>#[\w-]+)?")
MODULES = ("", "nettrim.", "nettrim.parsimonious.")


def link_citations(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Make links of what docstrings cite of these pages."""
    lines[:] = [CITED.sub(r"`\g<page> <../\g<page>.html\g<anchor>>`__", line) for line in lines]


class LinkNames(SphinxPostTransform):
    """Make links of public names in prose."""

    default_priority = 5  # before links are resolved

    def run(self, **options: Any) -> None:
        """Look every literal up in the reference."""
        known = self.env.domains["py"].objects
        for literal in list(self.document.findall(nodes.literal)):
            name = literal.astext().partition("(")[0]
            target = next((m + name for m in MODULES if m + name in known), None)
            if target is None or isinstance(literal.parent, (nodes.reference, pending_xref)):
                continue
            options = {"refdomain": "py", "reftype": "obj", "refexplicit": True}
            literal.replace_self(
                pending_xref(
                    "", literal.deepcopy(), refdoc=self.env.docname, reftarget=target, **options
                )
            )


def setup(app: Any) -> None:
    """Register what makes links."""
    app.connect("autodoc-process-docstring", link_citations)
    app.add_post_transform(LinkNames)
