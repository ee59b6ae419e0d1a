"""Networks made smaller without any change to what they compute.

Trimming leaves units that nothing arrives at, which are constants, and units that nobody reads.
Both can go: a constant into the bias of the layer that reads it. Units are removed together from
the layer that makes them, the layer that reads them, and what treats them one by one in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array
from . import BatchNorm, Conv1D, Conv2D, Dense, Layer, Network, Residual
from .interval_bounds import (
    Range,
    arrange_by_group,
    input_range,
    is_padded,
    meets_units,
    output_range,
    repeat_units,
)

__all__ = ["shrink"]

Mask = NDArray[np.bool_]
Convolution = Conv1D | Conv2D
Weighted = TypeVar("Weighted", bound=Dense | Conv1D | Conv2D)


def shrink(network: Network) -> Network:
    r"""Remove the units of a network that cannot matter; what it computes stays the same.

    A unit (an output of a dense layer, a channel of a convolution) goes

    * if no weight of the next layer reads it, or
    * if it is a constant :math:`c` for whatever input, because nothing arrives at it, or because of
      the signs of what does: the next layer's bias then grows by :math:`c` times the weights that
      read it.

    Both are repeated until nothing changes, since inputs that only such units read are not read any
    more, and units behind constants may be constants too.

    Parameters
    ----------
    network : Network
        It is not changed.

    Returns
    -------
    Network
        With the same inputs and outputs, and in the precision of the same weights. Its answers are
        the same up to rounding in that precision.

    Raises
    ------
    TypeError
        If ``network`` is no `Network`.

    Notes
    -----
    Units stay where a shape depends on them: the inputs and outputs of the network and of the
    chains of a `Residual`, one unit of every layer, and as many in each group of a grouped
    convolution as in the other groups. A convolution whose every output has one channel of its own
    (a depthwise one) is no obstacle. A channel that is a constant other than zero stays in front of
    a convolution with padding, where it is not constant at the border. Layers of kinds unknown to
    nettrim are left as they are, and so are the units on either side of them.

    Examples
    --------
    >>> import numpy as np
    >>> import nettrim
    >>> net = nettrim.Network([
    ...     nettrim.Dense([[1.0, 0.0, 2.0]], bias=[0.0, 3.0, 0.0]),
    ...     nettrim.Dense([[1.0], [1.0], [0.0]], activation="linear"),
    ... ])
    >>> small = nettrim.shrink(net)  # the second unit is the constant 3, nobody reads the third
    >>> small.layers[0].weights, small.layers[1].weights, small.layers[1].bias
    (array([[1.]]), array([[1.]]), array([3.]))
    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be a nettrim.Network, got {type(network).__name__}")
    layers, known = list(network.layers), input_range(network.layers)
    smaller = _shrink_layers(layers, known)
    while _size(smaller) < _size(layers):
        layers, smaller = smaller, _shrink_layers(smaller, known)
    return Network(layers)


def _size(layers: Sequence[Layer]) -> tuple[int, int]:
    """Return the number of weights, and of those that are not zero."""
    weights = [inner.affine.weights for layer in layers for _, inner in layer.prunable()]
    return sum(w.size for w in weights), sum(int(np.count_nonzero(w)) for w in weights)


def _shrink_layers(layers: Sequence[Layer], signal: Range) -> list[Layer]:
    """Walk along a chain once, and remove units behind every layer."""
    chain = list(layers)
    for position, layer in enumerate(chain):
        if isinstance(layer, Residual):
            shortcut = _shrink_layers(layer.shortcut, signal)
            chain[position] = Residual(_shrink_layers(layer.body, signal), shortcut)
        reader = _find_reader(chain, position, signal)
        if reader is not None:
            section = slice(position, reader + 1)
            chain[section] = _remove_dead(chain[section], signal)
        signal = output_range(chain[position], signal)
    return chain


def _find_reader(chain: Sequence[Layer], position: int, signal: Range) -> int | None:
    """Return the position of the layer that reads the units of another, None without one."""
    if not isinstance(chain[position], (Dense, Conv1D, Conv2D)):
        return None
    for reader in range(position + 1, len(chain)):
        signal = output_range(chain[reader - 1], signal)
        layer = chain[reader]
        if not meets_units(layer, signal):
            return None
        if isinstance(layer, (Dense, Conv1D, Conv2D)) and not _is_depthwise(layer):
            return reader
    return None


def _is_depthwise(layer: Layer) -> bool:
    """Whether a layer is a convolution that gives every channel a kernel of its own."""
    if not isinstance(layer, (Conv1D, Conv2D)):
        return False
    n_outputs, per_group = layer.weights.shape[:2]
    return bool(layer.groups == n_outputs > per_group == 1)


def _remove_dead(section: Sequence[Layer], signal: Range) -> list[Layer]:
    """Remove units from a section, from the layer that makes them to the one that reads."""
    maker, *between, reader = section
    for layer in section[:-1]:
        signal = output_range(layer, signal)
    assert isinstance(maker, (Dense, Conv1D, Conv2D))
    assert isinstance(reader, (Dense, Conv1D, Conv2D))
    read = _read(reader)
    low, high = repeat_units(signal.low, len(read)), repeat_units(signal.high, len(read))
    constant = (low == high) & ((low == 0) | (not is_padded(reader)))
    dead = (constant | ~read).reshape(_n_outputs(maker), -1).all(axis=1)
    kept = ~_droppable(dead, _groups(maker), _groups(reader))
    dead_inputs = repeat_units(dead, len(read))
    constants = np.where(dead_inputs & constant, low, 0.0)
    return [
        _keep_outputs(maker, ~dead, kept),
        *(_keep_units(layer, kept) for layer in between),
        _keep_inputs(reader, constants, ~dead_inputs, repeat_units(kept, len(read))),
    ]


def _droppable(dead: Mask, *groups: int) -> Mask:
    """Return units that can go: as many from each group, and one stays in each."""
    droppable = dead
    for n in groups:
        parts = droppable.reshape(n, -1)
        most = min(parts.sum(axis=1).min(), parts.shape[1] - 1)
        droppable = (parts & (parts.cumsum(axis=1) <= most)).ravel()
    return droppable if (droppable == dead).all() else _droppable(droppable, *groups)


def _keep_outputs(layer: Weighted, alive: Mask, kept: Mask) -> Weighted:
    """Return a layer with some of its outputs, of which those that are dead are zero."""
    columns = (layer.affine.weights * alive)[:, kept]
    bias = None if layer.bias is None else (layer.bias * alive)[kept]
    return _rebuild(layer, columns, bias)


def _keep_inputs(layer: Weighted, constants: Array, alive: Mask, kept: Mask) -> Weighted:
    """Return a layer with some of its inputs, in which dead ones have become a part of the bias."""
    weights, groups = _grouped(layer), _groups(layer)
    added = (weights * arrange_by_group(constants, groups)).sum(axis=(0, 1)).ravel()
    bias = layer.bias
    if added.any():
        bias = np.zeros_like(layer.weights, shape=len(added)) if bias is None else bias
        bias = (bias + added).astype(bias.dtype)
    weights = weights * arrange_by_group(alive, groups)
    chosen = [weights[mask, :, n] for n, mask in enumerate(kept.reshape(groups, -1))]
    columns = np.stack(chosen, axis=2)
    return _rebuild(layer, columns.reshape(-1, _n_outputs(layer)), bias)


def _keep_units(layer: Layer, kept: Mask) -> Layer:
    """Return what treats units one by one, for some of them."""
    if isinstance(layer, BatchNorm):
        chosen = repeat_units(kept, len(layer.mean))
        arrays = layer.to_arrays()
        return BatchNorm.from_arrays({k: v[chosen] if v.ndim else v for k, v in arrays.items()})
    if isinstance(layer, (Conv1D, Conv2D)):
        bias = None if layer.bias is None else layer.bias[kept]
        return _rebuild(layer, layer.affine.weights[:, kept], bias, groups=int(kept.sum()))
    return layer


def _rebuild(
    layer: Weighted, columns: NDArray[Any], bias: NDArray[Any] | None, groups: int | None = None
) -> Weighted:
    """Return a layer with a column of weights for each output, and perhaps fewer inputs."""
    arrays = {**layer.to_arrays(), "weights": columns}
    if not isinstance(layer, Dense):
        groups = layer.groups if groups is None else groups
        kernel = layer.weights.shape[2:]
        shape = (columns.shape[1], -1, *kernel)
        arrays |= {"weights": columns.T.reshape(shape), "groups": np.array(groups)}
    made: Any = type(layer).from_arrays(arrays if bias is None else {**arrays, "bias": bias})
    return cast(Weighted, made)


def _read(layer: Dense | Convolution) -> Mask:
    """Return for every input whether a weight of the layer reads it."""
    result: Mask = _grouped(layer).any(axis=(1, 3)).T.ravel()
    return result


def _grouped(layer: Dense | Convolution) -> NDArray[Any]:
    """Return weights of shape (inputs of a group, their positions, groups, outputs of a group)."""
    groups = _groups(layer)
    inputs = layer.weights.shape[0 if isinstance(layer, Dense) else 1]
    return layer.affine.weights.reshape(inputs, -1, groups, _n_outputs(layer) // groups)


def _groups(layer: Dense | Convolution) -> int:
    return 1 if isinstance(layer, Dense) else layer.groups


def _n_outputs(layer: Dense | Convolution) -> int:
    return int(layer.affine.weights.shape[1])
