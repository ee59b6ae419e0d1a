#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0: a Reshape whose shape has zeros (the
# size that the input has) behind another Reshape, as in ONNX's own definition of GroupNormalization, whose groups
# are made by the first and flattened by [0, 0, -1].
# Guess: a zero is the size that the first Reshape's output has there; if the two are joined to one, that is worked in.
# Seen: the first is dropped and the zeros read the sizes of what came before: from 2 x 4 x 6, reshaped to 2 x 2 x 12,
# [0, 0, -1] makes 2 x 4 x 6 again. A model that goes on with it is silently another: the groups come out normalised
# channel by channel. The same shape without zeros is right, and so are the zeros with a product by one between the two.
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
from onnx import TensorProto, helper, numpy_helper

x = np.random.default_rng(0).standard_normal((2, 4, 6)).astype(np.float32) * np.array([1, 2, 3, 4], np.float32)[:, None]
channels = x / x.std(axis=2, keepdims=True)
groups = (x.reshape(2, 2, 12) / x.reshape(2, 2, 12).std(axis=2, keepdims=True)).reshape(x.shape)

def model(flat, between):
    """Groups of two channels, divided by their standard deviation."""
    shapes = {"grouped": [2, 2, 2, 6], "flat": flat, "back": [2, 4, 6]}
    constants = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in shapes.items()]
    constants.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    nodes = [
        helper.make_node("Reshape", ["x", "grouped"], ["g"]),
        helper.make_node("Mul", ["g", "one"], ["h"]),
        helper.make_node("Reshape", ["h" if between else "g", "flat"], ["z"]),
        helper.make_node("ReduceMean", ["z"], ["mean"], axes=[2]),
        helper.make_node("Sub", ["z", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[2]),
        helper.make_node("Sqrt", ["variance"], ["deviation"]),
        helper.make_node("Div", ["z", "deviation"], ["normal"]),
        helper.make_node("Reshape", ["normal", "back"], ["y"]),
    ]
    if not between:
        del nodes[1]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", infos[:1], infos[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()

def by_opencv(bytes_of_model):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(bytes_of_model, np.uint8))
    net.setInput(x, "x")
    return net.forward()

for flat, between in (([2, 2, 12], False), ([0, 0, -1], True), ([0, 0, -1], False)):
    made = model(flat, between)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    assert np.allclose(onnxruntime.InferenceSession(made, options).run(None, {"x": x})[0], groups, atol=1e-5)
    answer = by_opencv(made)
    off, alike = (abs(answer - other).max() for other in (groups, channels))
    print(f"second shape {flat}, {'a product between' if between else 'nothing between'}: OpenCV is {off:.0e} off;"
          f" from every channel by itself {alike:.0e}")
    wrong = flat[0] == 0 and not between
    assert (off > 0.1) == wrong and (alike < 1e-5) == wrong, "this has changed"
PYTHON
