"""Whether the calls of layers do not meet what other calls of these layers put out."""

from __future__ import annotations

from collections import Counter

from torch import fx

from .graph import TorchGraph
from .running_model import RunningModel

__all__ = ["find_waiting_points"]

MOST_CALLS = 4  # each of which takes a pass of its own, side by side with the others

LayerCalls = frozenset[tuple[str, int]]  # layers by name, and which of their calls


def find_waiting_points(running: RunningModel) -> list[str]:
    """Return where passes have to wait that each stand for one call of the layers that run again.

    As for the halves of a siamese network: what arrives there in one call is the same whatever
    weights the model has in the others.

    Parameters
    ----------
    running : RunningModel

    Returns
    -------
    list of str
        The layers that run again, and those in front of them, in the order of their turns. None of
        them where calls depend on each other, or it is not known whether they do.
    """
    repeated, graph = {*running.repeated}, running.graph
    counts = {running.arrivals[name].n_calls for name in repeated}
    if graph is None or running.routed or len(counts) != 1 or max(counts) > MOST_CALLS:
        return []
    if not all(running.shows(graph, name) for name in running.names):
        return []
    order, ahead = _calls_ahead(graph, {*running.names})
    meets = {call: {a for a in ahead[call] if a[0] in repeated} for call in order}
    if any(a[1] != call[1] for call in order if call[0] in repeated for a in meets[call]):
        return []
    single = {a[0] for call in order if call[0] in repeated for a in ahead[call]} - repeated
    points = [name for name in running.names if name in repeated | single]
    in_turn = all(
        [name for name, k in order if name in single or (name in repeated and k == number)]
        == points
        for number in range(max(counts))
    )
    return points if in_turn else []


def _calls_ahead(
    graph: TorchGraph, layers: set[str]
) -> tuple[list[tuple[str, int]], dict[tuple[str, int], LayerCalls]]:
    """Return the calls of layers in their order, and for each those whose outputs it depends on."""
    order: list[tuple[str, int]] = []
    ahead: dict[tuple[str, int], LayerCalls] = {}
    found: dict[fx.Node, LayerCalls] = {}
    seen = Counter[str]()
    for node in graph.traced.graph.nodes:
        found[node] = frozenset().union(*(found[operand] for operand in node.all_input_nodes))
        name = graph.layer(node)
        if name in layers:
            call = str(name), seen[str(name)]
            seen[str(name)] += 1
            order.append(call)
            ahead[call] = found[node]
            found[node] |= {call}
    return order, ahead
