#!/usr/bin/env bash
# onnx2torch 1.5.15, onnx 1.23.2, onnxruntime 1.32.0, torch 2.13.0 (CPU): CumSum and NonZero, turned from ONNX into a
# torch module.
# Guess: an attribute that a node leaves out has the default of the specification: a sum runs from the beginning unless
# reverse=1 is written.
# Seen: left out, reverse is taken for 1: 1, 2, 3 becomes 6, 5, 3 where onnxruntime says 1, 3, 6; written out as 0, as
# hardly an exporter does, it is right. Positions of tokens counted over a mask run backwards. The indices that
# NonZero gives lie along the other axis than ONNX has them, one column for each dimension in place of one row.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check --no-deps onnx2torch==1.5.15
"$work/env/bin/python" -W ignore - <<'PYTHON'
import sys
import types

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

# onnx2torch imports torchvision for operators of detection alone; it isn't used here, and its build must fit torch's
for name in ("torchvision", "torchvision.ops"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["torchvision.ops"].roi_align = None
from onnx2torch import convert

def both(kind, x, constants=(), **options):
    names = [tensor.name for tensor in constants]
    node = helper.make_node(kind, ["x", *names], ["y"], **options)
    shape = ["a", "b"] if kind == "NonZero" else x.shape
    wide = TensorProto.INT64 if kind == "NonZero" else TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", wide, shape)],
        list(constants),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    exact = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
    return exact.tolist(), convert(made)(torch.from_numpy(x)).tolist()

axis = numpy_helper.from_array(np.array(0), "axis")
numbers = np.array([1, 2, 3], np.float32)
for options in ({}, {"reverse": 0}, {"reverse": 1}):
    exact, answer = both("CumSum", numbers, [axis], **options)
    print(f"CumSum of 1, 2, 3, {options}: onnxruntime {exact}, onnx2torch {answer}")
    assert (exact == answer) == bool(options), "this has changed"
exact, answer = both("NonZero", np.array([[1, 0, 0], [1, 0, 1]], np.float32))
print(f"NonZero: onnxruntime {exact}, onnx2torch {answer}")
assert answer == np.transpose(exact).tolist() != exact, "this has changed"
PYTHON
