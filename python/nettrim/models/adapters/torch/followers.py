"""What stands between two nodes of a graph: a ReLU or a smooth activation, however written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

__all__ = ["SMOOTH", "VALUES", "BranchInterpreter", "classify_calls", "find_joins"]

SMOOTH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "hardswish": F.hardswish,
    "relu6": F.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}

LONGEST = 8  # calls that one activation is written with
VALUES = 2048  # at which an activation is tried


def find_joins(start: fx.Node) -> Iterator[list[fx.Node]]:
    """Yield the calls behind a node up to each one that all ways through the graph lead to.

    It ends where something else comes in that depends on the data.
    """
    inside = {start: None}
    node = start.next
    while node.op != "output" and len(inside) <= LONGEST:
        if any(operand in inside for operand in node.all_input_nodes):
            if not all(
                operand in inside or _is_constant(operand) for operand in node.all_input_nodes
            ):
                return
            inside[node] = None
            if all(user in inside for other in inside if other is not node for user in other.users):
                yield [*inside][1:]
        node = node.next


def classify_calls(
    branch: BranchInterpreter, start: fx.Node, calls: Sequence[fx.Node], like: torch.Tensor
) -> str | None:
    """Tell what some calls do with the values of a node; None for what has no name.

    "relu", "linear" if nothing, or one of `SMOOTH`. It is tried on numbers of both signs and of all
    magnitudes, zero among them. For a ReLU exactly the entries below zero must become zero, and
    nothing else may change; smooth activations may differ in rounding.

    Parameters
    ----------
    branch : BranchInterpreter
        Of the graph.
    start : torch.fx.Node
    calls : sequence of torch.fx.Node
        See `find_joins`.
    like : torch.Tensor
        Of the shape and type of what the node gives.
    """
    generator = torch.Generator().manual_seed(0)
    possible = ["relu", "linear", *SMOOTH]  # first those that are exact
    for _ in range(max(1, math.ceil(VALUES / max(1, like.numel())))):
        given = _numbers(like, generator)
        try:
            with torch.no_grad():
                found = branch.follow(start, given.clone(), calls)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return None
        if not isinstance(found, torch.Tensor) or found.shape != given.shape:
            return None
        possible = [what for what in possible if _agrees(what, given, found)]
        if not possible:
            return None
    return possible[0]


def _agrees(what: str, given: torch.Tensor, found: torch.Tensor) -> bool:
    """Tell whether what was found is what an activation gives."""
    if what in SMOOTH:
        return found.dtype == given.dtype and torch.allclose(
            found, SMOOTH[what](given), atol=1e-6, equal_nan=True
        )
    return torch.equal(found, given.clamp(min=0) if what == "relu" else given)


class BranchInterpreter(fx.Interpreter):
    """Computes some calls of a graph and no others, but for constants they need.

    One serves a whole graph, all modules of which are listed when it is made.

    Parameters
    ----------
    traced : torch.fx.GraphModule
    """

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced, garbage_collect_values=False)

    def follow(self, start: fx.Node, value: torch.Tensor, calls: Sequence[fx.Node]) -> Any:
        """Return what the last of some calls gives if a node gave some values."""
        self.env = {start: value}
        for node in calls:
            for operand in node.all_input_nodes:
                self._compute(operand)
            self._compute(node)
        return self.env[calls[-1]]

    def _compute(self, node: fx.Node) -> None:
        if node not in self.env:
            for operand in node.all_input_nodes:
                self._compute(operand)
            self.env[node] = self.run_node(node)


def _numbers(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return random numbers of both signs and all magnitudes that a sum of two allows."""
    digits = 0.9 * math.log10(torch.finfo(like.dtype).max)
    shape = (like.numel(),)
    magnitudes = 10.0 ** (digits * (2.0 * torch.rand(shape, generator=generator).double() - 1.0))
    signs = torch.randint(-1, 2, shape, generator=generator)
    ordinary = torch.rand(shape, generator=generator) < 0.5  # half of them of an everyday size
    magnitudes = torch.where(ordinary, 3.0 * magnitudes.log10().abs() / digits, magnitudes)
    return (signs * magnitudes).reshape(like.shape).to(like.dtype).to(like.device)


def _is_constant(node: fx.Node) -> bool:
    """Whether a node's value does not depend on the data."""
    return node.op != "placeholder" and all(map(_is_constant, node.all_input_nodes))
