#!/usr/bin/env bash
# onnx 1.23.2 (onnx.reference.ReferenceEvaluator), tract 0.23.9, onnxruntime 1.32.0, opencv-python-headless 5.0.0.93
# (cv2.dnn): Resize with coordinate_transformation_mode=align_corners and a scale that leaves a fraction of a pixel,
# such as 4 pixels times 1.7, which makes 6.
# Guess: the last pixel of the output is the last pixel of the input, whatever the scale: that's what the mode is for,
# and the specification divides by the length of the resized tensor less one.
# Seen: onnx's own evaluator and tract divide by 6.8 - 1 in place of 6 - 1, so that the end is missed, by 14 % of the
# height here. onnxruntime and OpenCV align the corners. With the size in place of the scale all four do.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check tract==0.23.9 opencv-python-headless==5.0.0.93 \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import cv2
import numpy as np
import onnx
import onnxruntime
import tract
from onnx.reference import ReferenceEvaluator

x = np.add.outer(np.arange(4), np.arange(5)).astype(np.float32)[None, None]  # a ramp

def model(**numbers):
    (name, value), = numbers.items()
    inputs = "x, , n" if name == "scales" else "x, , , n"
    made = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 19]>
    ramp (float[1,1,4,5] x) => (float[a,b,c,d] y)
    {{ y = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">({inputs}) }}""")
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), "n"))
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "ramp.onnx")
    return made

def by_reference(made):
    return ReferenceEvaluator(made).run(None, {"x": x})[0]

def by_onnxruntime(made):
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]

def by_tract(made):
    return tract.onnx().load("ramp.onnx").into_model().into_runnable().run([x])[0].to_numpy()

def by_opencv(made):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made.SerializeToString(), np.uint8))
    net.setInput(x, "x")
    return net.forward()

corners = {}
for name, made in (
    ("scales", {"scales": np.float32([1, 1, 1.7, 1.7])}),
    ("sizes", {"sizes": [1, 1, 6, 8]}),
):
    for run in (by_reference, by_onnxruntime, by_tract, by_opencv):
        y = run(model(**made))
        assert y.shape == (1, 1, 6, 8) and abs(y[0, 0, 0, 0]) < 1e-6
        corners[name, run] = y[0, 0, -1, -1]
        print(f"{name}, {run.__name__}: the last corner is {corners[name, run]:.3f}, of the ramp 7")
missed = 3 * 5 / 5.8 + 4 * 7 / 7.5
for (name, run), corner in corners.items():
    if name == "scales" and run in (by_reference, by_tract):
        assert np.isclose(corner, missed, atol=1e-3), "this has changed"
    else:
        assert np.isclose(corner, 7, atol=1e-4), "this has changed"
PYTHON
