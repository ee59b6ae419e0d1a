"""Whether what stands between two nodes of a graph is a ReLU, however it is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx

__all__ = ["classify_calls", "find_joins"]

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
    traced: fx.GraphModule, start: fx.Node, calls: Sequence[fx.Node], like: torch.Tensor
) -> str | None:
    """Tell what some calls do with the values of a node: "relu", "linear" if nothing, else None.

    It is tried on numbers of both signs and of all magnitudes, zero among them: exactly the entries
    below zero must become zero, and nothing else may change.

    Parameters
    ----------
    traced : torch.fx.GraphModule
    start : torch.fx.Node
    calls : sequence of torch.fx.Node
        See `find_joins`.
    like : torch.Tensor
        Of the shape and type of what the node gives.
    """
    generator = torch.Generator().manual_seed(0)
    possible = {"relu", "linear"}
    for _ in range(max(1, math.ceil(VALUES / max(1, like.numel())))):
        given = _numbers(like, generator)
        try:
            with torch.no_grad():
                found = _BranchInterpreter(traced).follow(start, given.clone(), calls)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return None
        if not isinstance(found, torch.Tensor) or found.shape != given.shape:
            return None
        wanted = {"relu": given.clamp(min=0), "linear": given}
        possible = {what for what in possible if torch.equal(found, wanted[what])}
        if not possible:
            return None
    (what,) = possible
    return what


class _BranchInterpreter(fx.Interpreter):
    """Computes some calls of a graph and no others, but for constants they need."""

    def follow(self, start: fx.Node, value: torch.Tensor, calls: Sequence[fx.Node]) -> Any:
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
