#!/usr/bin/env bash
# tract 0.23.9, opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0, torch 2.13.0 (CPU): Celu and
# Swish with an alpha other than 1.
# Guess: as Elu, LeakyRelu and HardSigmoid, whose alpha is honoured; torch's CELU has one, so it's met in practice.
# Seen: tract computes exp(x / alpha) - 1 for a negative x and leaves out the factor alpha in front of it: with alpha 2
# half of what it should be, in a curve that still looks like Celu, and with alpha 1, the default, it is right. Swish,
# x times sigmoid(alpha x), is run with alpha 1 by tract and by OpenCV, whatever the node says. OpenCV's Celu is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check tract==0.23.9 opencv-python-headless==5.0.0.93 \
    onnx==1.23.2 onnxruntime==1.32.0 torch==2.13.0 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import cv2
import numpy as np
import onnx
import onnxruntime
import torch
import tract
from onnx import TensorProto, helper

x = np.array([[-2, -1, -0.5, 0, 1]], np.float32)
exact = {
    "Elu": lambda alpha: torch.nn.functional.elu(torch.from_numpy(x), alpha),
    "LeakyRelu": lambda alpha: torch.nn.functional.leaky_relu(torch.from_numpy(x), alpha),
    "Celu": lambda alpha: torch.nn.functional.celu(torch.from_numpy(x), alpha),
    "Swish": lambda alpha: torch.from_numpy(x) * torch.sigmoid(alpha * torch.from_numpy(x)),
}

def model(kind, alpha):
    node = helper.make_node(kind, ["x"], ["y"], alpha=alpha)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in "xy"]
    graph = helper.make_graph([node], "graph", infos[:1], infos[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "activation.onnx")
    return made.SerializeToString()

def by_onnxruntime(made):
    return onnxruntime.InferenceSession(made).run(None, {"x": x})[0]

def by_tract(made):
    return tract.onnx().load("activation.onnx").into_model().into_runnable().run([x])[0].to_numpy()

def by_opencv(made):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made, np.uint8))
    net.setInput(x, "x")
    return net.forward()

wrong = set()
for kind, function in exact.items():
    for alpha in (1.0, 2.0, 0.5):
        made, right = model(kind, alpha), function(alpha).numpy()
        for run in (by_onnxruntime, by_tract, by_opencv):
            answer = run(made)
            if abs(answer - right).max() > 1e-3:
                print(f"{kind}, alpha {alpha:g}, {run.__name__}: {answer.round(3)} in place of {right.round(3)}")
                wrong.add((kind, alpha, run.__name__))
                negative = x < 0
                part = function(1.0).numpy() if kind == "Swish" else np.where(negative, right / alpha, right)
                assert abs(answer - part).max() < 1e-3, "this has changed"
cases = [("Celu", "by_tract"), ("Swish", "by_tract"), ("Swish", "by_opencv")]
assert wrong == {(kind, alpha, by) for kind, by in cases for alpha in (2.0, 0.5)}, "this has changed"
PYTHON
