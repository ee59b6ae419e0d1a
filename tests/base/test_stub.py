"""The compiled modules have what their stubs say.

mypy's stubtest sees names alone: pybind11 writes signatures where only people read, above
docstrings.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

import pytest

from nettrim import _cpu
from nettrim.base.dispatch import core


class Signature(NamedTuple):
    """What a caller must know: names in ``optional`` may be None, in ``defaults`` left out."""

    positional: list[str]
    by_name: list[str]
    optional: set[str]
    defaults: set[str]

    @classmethod
    def of(cls, function: ast.FunctionDef) -> Signature:
        parameters = [*function.args.args, *function.args.kwonlyargs]
        values = [*function.args.defaults, *function.args.kw_defaults]
        return cls(
            [parameter.arg for parameter in function.args.args],
            [parameter.arg for parameter in function.args.kwonlyargs],
            {parameter.arg for parameter in parameters if takes_none(parameter.annotation)},
            {
                parameter.arg
                for parameter, value in zip(reversed(parameters), reversed(values), strict=False)
                if value is not None
            },
        )


def takes_none(annotation: ast.expr | None) -> bool:
    kinds = ast.unparse(annotation).split(" | ") if annotation else []
    return "None" in kinds or "object" in kinds


def stub(module: str) -> list[ast.stmt]:
    return ast.parse(resources.files("nettrim").joinpath(f"{module}.pyi").read_text()).body


def compiled(name: str) -> Iterator[ast.FunctionDef]:
    """The definitions in a docstring: a line each, numbered where there are several."""
    lines = re.findall(
        rf"^(?:\d+\. )?({name}\(.*\) -> .+)$", getattr(core, name).__doc__, re.MULTILINE
    )
    for line in lines:
        (definition,) = ast.parse(f"def {line}: ...").body
        assert isinstance(definition, ast.FunctionDef)
        yield definition


FUNCTIONS = {node.name: node for node in stub("_core") if isinstance(node, ast.FunctionDef)}


def test_the_core_has_the_functions_of_its_stub() -> None:
    assert {name for name in vars(core) if not name.startswith("__")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_the_core_is_called_as_its_stub_says(name: str) -> None:
    said, found = Signature.of(FUNCTIONS[name]), [Signature.of(f) for f in compiled(name)]
    assert found
    assert found == [said] * len(found)


def test_the_processor_is_described_as_its_stub_says() -> None:
    said = {ast.unparse(n.target) for n in stub("_cpu") if isinstance(n, ast.AnnAssign)}
    assert {name for name in vars(_cpu) if not name.startswith("__")} == said
