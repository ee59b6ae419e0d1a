#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0: a mean for each channel over the batch and
# the image, ReduceMean over axes 0, 2 and 3, as statistics of a layer or a normalisation by batch need it.
# Guess: exact to rounding at every size of the batch, and so for the other reductions; over axes that are not
# neighbours an array is transposed first, which is where a runtime is careful.
# Seen: a batch of one or two is right, so a test passes; from three on the means are those of other elements, about
# 0.1 to 0.5 off, and maxima, sums of squares and norms too. No error is raised. Over axes 0 and 2, or 1, 2 and 3, all
# sizes are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

def off(kind, batch, axes):
    """The largest errors of OpenCV and of onnxruntime against NumPy in float64."""
    x = np.random.default_rng(batch).standard_normal((batch, 3, 4, 5)).astype(np.float32)
    exact = {
        "ReduceMean": lambda z: z.mean(axis=axes),
        "ReduceMax": lambda z: z.max(axis=axes),
        "ReduceSumSquare": lambda z: (z * z).sum(axis=axes),
        "ReduceL2": lambda z: np.sqrt((z * z).sum(axis=axes)),
    }[kind](x.astype(np.float64))
    node = helper.make_node(kind, ["x"], ["y"], axes=axes, keepdims=0)
    x_info = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    y_info = helper.make_tensor_value_info("y", TensorProto.FLOAT, exact.shape)
    graph = helper.make_graph([node], "graph", [x_info], [y_info])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    by_onnxruntime = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made.SerializeToString(), np.uint8))
    net.setInput(x, "x")
    by_opencv = net.forward()
    assert by_opencv.shape == by_onnxruntime.shape == exact.shape
    return abs(by_opencv - exact).max(), abs(by_onnxruntime - exact).max()

for kind in ("ReduceMean", "ReduceMax", "ReduceSumSquare", "ReduceL2"):
    for axes in ((0, 2), (1, 2, 3), (0, 2, 3)):
        errors = {batch: off(kind, batch, axes) for batch in (1, 2, 3, 4, 8)}
        told = ", ".join(f"{batch}: {opencv:.0e}" for batch, (opencv, _) in errors.items())
        print(f"{kind} over axes {axes}, OpenCV's error by size of the batch: {told}")
        assert max(onnxruntime for _, onnxruntime in errors.values()) < 1e-4
        right = {batch for batch, (opencv, _) in errors.items() if opencv < 1e-4}
        assert right == ({1, 2} if axes == (0, 2, 3) else {1, 2, 3, 4, 8}), "this has changed"
PYTHON
