#!/usr/bin/env bash
# onnx 1.23.2 (onnx.reference), tract 0.23.9, onnxruntime 1.32.0, openvino 2026.4.1: GridSample with mode=cubic and
# padding_mode=border, as warps of images have it, at points outside of the image.
# Guess: out there is the border's value, in all four, as with mode=linear.
# Seen: there are two readings. The standard's own evaluator and tract move the point to the border, then interpolate:
# the border's value. onnxruntime and OpenVINO leave the point and take the border's value for the missing pixels: up to
# a pixel out the cubic still swings, below the least or over the largest value of the image. With linear the two
# are the same, and so are they inside. All give their answer without a word.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 tract==0.23.9 onnxruntime==1.32.0 \
    openvino==2026.4.1 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import openvino
import tract
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

row = np.array([0, 1, 4, 9, 16, 25], np.float32)
x = np.broadcast_to(row, (1, 1, 6, 6)).copy()
places = np.array([-4, -1.5, -0.5, 0, 0.5, 2.25, 5, 5.5, 6.5, 9])  # in pixels
grid = np.zeros((1, 1, len(places), 2), np.float32)
grid[..., 0] = places / 2.5 - 1  # align_corners=1: -1 is the first pixel, 1 the last

def kernel(distance, a=-0.75):
    d = abs(distance)
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))

def cubic(places):
    pixels = np.floor(places)[:, None] + np.arange(-1, 3)
    return (kernel(places[:, None] - pixels) * row[np.clip(pixels, 0, 5).astype(int)]).sum(axis=1)

def model(mode):
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode="border", align_corners=1)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
             for name, shape in (("x", x.shape), ("grid", grid.shape), ("y", [1, 1, 1, len(places)]))]
    made = helper.make_model(helper.make_graph([node], "graph", infos[:2], infos[2:]),
                             opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "warp.onnx")
    return made

def by_evaluator(made):
    return ReferenceEvaluator(made).run(None, {"x": x, "grid": grid})[0]

def by_tract(made):
    return tract.onnx().load("warp.onnx").into_model().into_runnable().run([x, grid])[0].to_numpy()

def by_onnxruntime(made):
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x, "grid": grid})[0]

def by_openvino(made):
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model("warp.onnx", "CPU", exact)({"x": x, "grid": grid})[0]

moved, left = cubic(np.clip(places, 0, 5)), cubic(places)
assert left.min() < -0.05 and left.max() > 25.5  # outside of the image's values
print("places in pixels:", *places)
for run in (by_evaluator, by_tract, by_onnxruntime, by_openvino):
    y = run(model("cubic")).ravel()
    print(f"{run.__name__}:", *y.round(3))
    other = run in (by_onnxruntime, by_openvino)
    assert np.allclose(y, left if other else moved, atol=1e-4), "this has changed"
    assert np.allclose(run(model("linear")).ravel(), np.interp(places, np.arange(6), row), atol=1e-4)
PYTHON
