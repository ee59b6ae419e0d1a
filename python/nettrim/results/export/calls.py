"""The calls in C that each kind of layer becomes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from ...models.network import (
    AveragePool,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    PrunableLayer,
    ReLU,
    Residual,
)
from .c_program import Buffer, CProgram
from .exported import Unavailable

__all__ = ["emit_layers"]


def emit_layers(layers: Sequence[Layer], program: CProgram, place: Buffer) -> Buffer:
    """Write the calls of a chain whose input is at a place; return where its output is."""
    for layer in layers:
        program.position += 1
        place = _emit(layer, program, place)
    return place


@singledispatch
def _emit(layer: Layer, program: CProgram, place: Buffer) -> Buffer:
    raise Unavailable(f"header has no C for layers of kind {layer.kind!r}")


@_emit.register
def _(layer: Dense, program: CProgram, place: Buffer) -> Buffer:
    tables = program.rows(layer)
    out = program.allocate((*place.shape[:-1], layer.n_outputs))
    sizes = (place.size // layer.n_features, layer.n_features, layer.n_outputs)
    program.call("dense", place.name, out.name, *sizes, *tables)
    return _activated(layer, program, place, out)


@_emit.register(Conv1D)
@_emit.register(Conv2D)
def _(layer: Conv1D | Conv2D, program: CProgram, place: Buffer) -> Buffer:
    window, n_outputs = layer.window((1, *place.shape)), len(layer.weights)
    address, tables = program.window(window, place), program.rows(layer)
    out = program.allocate((n_outputs, *window.positions(place.shape[1:])))
    sizes = (n_outputs, n_outputs // layer.groups, place.size // layer.groups)
    program.call("convolution", place.name, out.name, address, *sizes, *tables)
    return _activated(layer, program, place, out)


def _activated(layer: PrunableLayer, program: CProgram, place: Buffer, out: Buffer) -> Buffer:
    program.release(place)
    if layer.activation == "relu":
        program.call("relu", out.name, out.size)
    return out


@_emit.register(MaxPool)
@_emit.register(AveragePool)
def _(layer: MaxPool | AveragePool, program: CProgram, place: Buffer) -> Buffer:
    n_channels, address = place.shape[0], program.window(layer.window, place)
    out = program.allocate((n_channels, *layer.window.positions(place.shape[1:])))
    program.call(layer.kind, place.name, out.name, address, n_channels)
    program.release(place)
    return out


@_emit.register
def _(layer: GlobalAveragePool, program: CProgram, place: Buffer) -> Buffer:
    n_channels = place.shape[0]
    out = program.allocate((n_channels,))
    program.call("mean", place.name, out.name, n_channels, place.size // n_channels)
    program.release(place)
    return out


@_emit.register
def _(layer: BatchNorm, program: CProgram, place: Buffer) -> Buffer:
    n_channels = len(layer.mean)
    tables = program.channelwise(factor=layer.factor, shift=layer.offset)
    out = program.writable(place)
    program.call("scale", out.name, n_channels, out.size // n_channels, *tables)
    return out


@_emit.register
def _(layer: ReLU, program: CProgram, place: Buffer) -> Buffer:
    out = program.writable(place)
    program.call("relu", out.name, out.size)
    return out


@_emit.register
def _(layer: Flatten, program: CProgram, place: Buffer) -> Buffer:
    return place._replace(shape=(place.size,))


@_emit.register
def _(layer: Residual, program: CProgram, place: Buffer) -> Buffer:
    kept = place._replace(scratch=False)  # both chains read it
    total = program.writable(emit_layers(layer.body, program, kept))
    other = emit_layers(layer.shortcut, program, kept)
    if other.shape != total.shape:
        raise Unavailable(f"header has no C for sums of shapes {total.shape} and {other.shape}")
    program.call("add", other.name, total.name, total.size)
    program.release(other)
    program.release(place)
    return total
