#!/usr/bin/env bash
# tract 0.23.9, openvino 2026.4.1, opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0:
# ConvTranspose told its output's size, by output_shape or by auto_pad, as decoders and converters from TensorFlow do.
# Guess: what is over is cut by the specification's formula: where one pixel is over it comes off the beginning, and off
# the end with SAME_UPPER; SAME alone makes input times stride.
# Seen: onnxruntime does that. tract takes all that is over off the end where auto_pad is left out, OpenVINO one pixel
# off the beginning with SAME_UPPER: what comes out is shifted by a pixel, of the right size, and nothing is said.
# OpenCV makes 8 pixels of 3, whichever of 5, 6 and 7 it is told, and with SAME alone 5 in place of 6. OpenVINO is right
# in the other cases, tract where nothing is over.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check tract==0.23.9 openvino==2026.4.1 \
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

rng = np.random.default_rng(0)
x, filters = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 1, 3, 3), (1, 1, 3, 3)))
whole = np.zeros((7, 7), np.float32)  # 3 pixels in steps of 2, each spread over 3
for row in range(3):
    for column in range(3):
        whole[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += x[0, 0, row, column] * filters[0, 0]

def cut(size, at_the_end):
    over = 7 - size
    begin = over // 2 if at_the_end else over - over // 2
    return whole[begin : begin + size, begin : begin + size]

def model(options):
    node = helper.make_node("ConvTranspose", ["x", "filters"], ["y"], strides=[2, 2], **options)
    put_in = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    put_out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "h", "w"])
    graph = helper.make_graph([node], "graph", [put_in], [put_out], [numpy_helper.from_array(filters, "filters")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "decoder.onnx")
    return made.SerializeToString()

def by_onnxruntime(made):
    return onnxruntime.InferenceSession(made).run(None, {"x": x})[0]

def by_tract(made):
    return tract.onnx().load("decoder.onnx").into_model().into_runnable().run([x])[0].to_numpy()

def by_openvino(made):
    core = openvino.Core()
    return core.compile_model(core.read_model(made), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]

def by_opencv(made):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made, np.uint8))
    net.setInput(x, "x")
    return net.forward()

def is_it(y, exact):
    return y.shape[2:] == exact.shape and np.allclose(y[0, 0], exact, atol=1e-5)

cases = [(size, {"output_shape": [size, size], **({"auto_pad": f"SAME_{end}"} if end else {})})
         for size in (5, 6, 7) for end in ("", "UPPER", "LOWER")]
cases += [(6, {"auto_pad": f"SAME_{end}"}) for end in ("UPPER", "LOWER")]
for size, options in cases:
    made, upper = model(options), options.get("auto_pad") == "SAME_UPPER"
    exact = cut(size, upper)
    runtimes = {by_onnxruntime: True, by_openvino: not (size == 6 and upper and "output_shape" in options)}
    if "auto_pad" not in options:  # tract has no SAME for this operator
        runtimes[by_tract] = size == 7
    if "auto_pad" not in options or "output_shape" not in options:  # OpenCV refuses the two together
        runtimes[by_opencv] = False
    for run, right in runtimes.items():
        y = run(made)
        assert is_it(y, exact) == right, "this has changed"
        if not right:
            moved = "moved" if y.shape[2:] == exact.shape else f"{y.shape[2:]} in place of {exact.shape}"
            print(f"{run.__name__}, {options}: {moved}")
            if run is by_opencv:
                assert y.shape[2:] == ((8, 8) if "output_shape" in options else (5, 5)), "this has changed"
            else:
                other = whole[:size, :size] if run is by_tract else cut(size, not upper)
                assert is_it(y, other), "this has changed"
PYTHON
