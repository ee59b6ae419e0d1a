#!/usr/bin/env bash
# openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.32.0, torch 2.13.0 (CPU): normalisation over neighbouring channels,
# x / (bias + alpha / size * sum of x^2)^beta, from ONNX's LRN, from torch's LocalResponseNorm and from OpenVINO's own
# operator.
# Guess: the bias is the real number that it is in all three, as alpha and beta are; the operator's attribute is a
# double and is read back as it was given.
# Seen: but for torch's, whose layer is taken apart, it is run as the integer below it. A bias of 1.9 is 1, so that
# faint signals come out 1.6 times too large, and one of 0.5 is 0: more than a thousand times. No error is raised.
# Biases of 1 and 2, those of the well-known networks, are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import openvino
import openvino.opset13 as ops
import torch
from onnx import TensorProto, helper

size, alpha, beta = 3, 0.3, 0.75
x = (np.random.default_rng(0).standard_normal((2, 6, 4, 4)) * 0.01).astype("f")

def by_hand(bias):
    squares = np.pad(np.square(x, dtype=np.float64), ((0, 0), (size // 2,) * 2, (0, 0), (0, 0)))
    sums = sum(squares[:, k : k + x.shape[1]] for k in range(size))
    return x / (bias + alpha / size * sums) ** beta

def from_onnx(bias):
    node = helper.make_node("LRN", ["x"], ["y"], size=size, alpha=alpha, beta=beta, bias=bias)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in "xy"]
    graph = helper.make_graph([node], "graph", infos[:1], infos[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    answer = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
    assert np.allclose(answer, by_hand(bias), rtol=1e-4)
    return openvino.Core().read_model(made.SerializeToString())

def from_torch(bias):
    layer = torch.nn.LocalResponseNorm(size, alpha, beta, bias)
    assert np.allclose(layer(torch.from_numpy(x)).numpy(), by_hand(bias), rtol=1e-4)
    return openvino.convert_model(layer, example_input=torch.from_numpy(x))

def own(bias):
    parameter = ops.parameter(x.shape, np.float32)
    node = ops.lrn(parameter, ops.constant(np.array([1])), alpha, beta, bias, size)
    assert node.get_attributes()["bias"] == bias
    return openvino.Model([node], [parameter])

wrong = []
for make in (from_onnx, from_torch, own):
    for bias in (1.0, 2.0, 1.9, 0.5):
        compiled = openvino.Core().compile_model(make(bias), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        answer, exact = np.array(compiled([x])[0]), by_hand(bias)
        if not np.allclose(answer, exact, rtol=1e-3):
            wrong.append((make.__name__, bias))
            factor = np.median(answer / exact)
            print(f"{make.__name__}, bias {bias}: answers are {factor:.4g} times the exact ones (median)")
            with np.errstate(divide="ignore"):
                assert np.allclose(answer, by_hand(int(bias)), rtol=1e-3), "this has changed"
print("right from torch, whatever the bias:", all(name != "from_torch" for name, _ in wrong))
assert wrong == [(name, bias) for name in ("from_onnx", "own") for bias in (1.9, 0.5)], "this has changed"
PYTHON
