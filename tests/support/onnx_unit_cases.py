"""Graphs whose units go or stay, in a few words each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import numpy_helper

from support.onnx_models import parsed

ROWS, SEQUENCES, IMAGES = "float[n,8] x", "float[n,5,8] x", "float[n,3,8,8] x"
TOKENS = "int64[n,5] x"
SHAPES = {ROWS: (3, 8), SEQUENCES: (3, 5, 8), IMAGES: (3, 3, 8, 8), TOKENS: (3, 5)}


class Case(NamedTuple):
    """A graph, the shapes of its constants, and how many units its signals have.

    Constants of integers are given as they are.
    """

    text: str
    inputs: str
    widths: list[int]
    constants: dict[str, Any]

    def model(self) -> onnx.ModelProto:
        rng = np.random.default_rng(5)
        arrays = {}
        for name, given in self.constants.items():
            if isinstance(given, list):
                arrays[name] = np.array(given, np.int64)
            elif isinstance(given, tuple):
                value = rng.standard_normal(given).astype(np.float32) / 2
                arrays[name] = np.abs(value) + 0.1 if name.startswith("var") else value
            else:
                arrays[name] = given
        return onnx.shape_inference.infer_shapes(parsed(self.text, self.inputs, **arrays))

    @property
    def X(self) -> np.ndarray:
        rng, shape = np.random.default_rng(6), SHAPES[self.inputs]
        if self.inputs == TOKENS:
            return rng.integers(0, 9, shape)
        return rng.standard_normal(shape).astype(np.float32)


def rows(text: str, widths: list[int], **constants: Any) -> Case:
    return Case(text, ROWS, widths, constants)


def sequences(text: str, widths: list[int], **constants: Any) -> Case:
    return Case(text, SEQUENCES, widths, constants)


def images(text: str, widths: list[int], **constants: Any) -> Case:
    return Case(text, IMAGES, widths, constants)


HEADS = """
    q = MatMul(x, Q) k = MatMul(x, K) v = MatMul(x, V)
    q4 = Reshape(q, apart) k4 = Reshape(k, apart) v4 = Reshape(v, apart)
    qt = Transpose<perm=[0,2,1,3]>(q4) kt = Transpose<perm=[0,2,3,1]>(k4)
    vt = Transpose<perm=[0,2,1,3]>(v4)
    scores = MatMul(qt, kt) p = Softmax(scores) a = MatMul(p, vt)
    at = Transpose<perm=[0,2,1,3]>(a) joined = Reshape(at, together) y = MatMul(joined, O)
"""

PACKED = """
    qkv = MatMul(x, W) five = Reshape(qkv, apart)
    front = Transpose<perm=[2,0,3,1,4]>(five)
    q = Gather<axis=0>(front, i0) k = Gather<axis=0>(front, i1) v = Gather<axis=0>(front, i2)
    kt = Transpose<perm=[0,1,3,2]>(k) scores = MatMul(q, kt) p = Softmax(scores)
    a = MatMul(p, v) at = Transpose<perm=[0,2,1,3]>(a) joined = Reshape(at, together)
    y = MatMul(joined, O)
"""
HEAD = {"Q": (8, 12), "K": (8, 12), "V": (8, 12), "O": (12, 4)}
INDICES = {f"i{k}": numpy_helper.from_array(np.array(k)) for k in range(3)}
CONV = {"K": (6, 3, 3, 3), "b": (6,), "W": (4, 6, 3, 3)}
NORM = {name: (6,) for name in ("s", "t", "m", "var")}
DENSE = {"W": (8, 6), "V": (6, 4)}
