#!/usr/bin/env bash
# openvino 2026.4.1, tract 0.23.9, opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0: ONNX's
# Attention operator with left_window_size=2, the sliding window that a language model's local layers have.
# Guess: a runtime that has Attention from before the attribute refuses it, as it refuses an operator that it doesn't
# know; what it runs is what the model says.
# Seen: all three load it and attend to every earlier token: exactly the output without the attribute, a quarter off or
# more, and nothing is said. onnxruntime has the window right. A window as a mask, which is an input and no attribute,
# is right in all four.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 tract==0.23.9 \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
import tract
from onnx import TensorProto, helper, numpy_helper

heads, tokens, width, window = 2, 6, 4, 2
rng = np.random.default_rng(0)
q, k, v = rng.standard_normal((3, 1, heads, tokens, width)).astype(np.float32)
k *= 2
back = np.arange(tokens)[:, None] - np.arange(tokens)
seen = {"whole": back >= 0, "window": (back >= 0) & (back <= window)}

def by_numpy(mask):
    scores = np.where(mask, q @ k.swapaxes(2, 3) / np.sqrt(width), -np.inf)
    shares = np.exp(scores - scores.max(axis=3, keepdims=True))
    return shares / shares.sum(axis=3, keepdims=True) @ v

def model(mask=None, **options):
    names, constants = ["q", "k", "v"], []
    if mask is not None:
        constants = [numpy_helper.from_array(np.where(mask, 0, -1e4).astype(np.float32), "mask")]
    node = helper.make_node("Attention", [*names, *(tensor.name for tensor in constants)], ["y"], **options)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, q.shape) for name in [*names, "y"]]
    graph = helper.make_graph([node], "graph", infos[:3], infos[3:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=11)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "attention.onnx")
    return made.SerializeToString()

def by_onnxruntime(made):
    return onnxruntime.InferenceSession(made).run(None, {"q": q, "k": k, "v": v})[0]

def by_openvino(made):
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model("attention.onnx", "CPU", exact)({"q": q, "k": k, "v": v})[0]

def by_tract(made):
    return tract.onnx().load("attention.onnx").into_model().into_runnable().run([q, k, v])[0].to_numpy()

def by_opencv(made):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made, np.uint8))
    for name, value in {"q": q, "k": k, "v": v}.items():
        net.setInput(value, name)
    return net.forward()

whole, local = by_numpy(seen["whole"]), by_numpy(seen["window"])
for run in (by_onnxruntime, by_openvino, by_tract, by_opencv):
    as_attribute = run(model(is_causal=1, left_window_size=window))
    off, from_whole = (np.linalg.norm(as_attribute - other) / np.linalg.norm(local) for other in (local, whole))
    by_mask = abs(run(model(seen["window"])) - local).max()
    causal = abs(run(model(is_causal=1)) - whole).max()
    print(f"{run.__name__}: window {off:.0e} off, {from_whole:.0e} from no window; as a mask {by_mask:.0e} off")
    assert max(by_mask, causal) < 1e-5
    assert (off < 1e-5) == (run is by_onnxruntime) == (from_whole > 0.2), "this has changed"
PYTHON
