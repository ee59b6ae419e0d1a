#!/usr/bin/env bash
# openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.32.0: Resize with antialias, exclude_outside and
# keep_aspect_ratio_policy, such as the preprocessing inside a model needs.
# Guess: each is honoured or the model is refused; OpenVINO's own Interpolate has an attribute "antialias", so that one
# is honoured.
# Seen: without them OpenVINO and onnxruntime agree to 1e-6. With them the model loads, and the result is exactly the
# one without: black and white stripes made four times smaller come out white in place of grey, and with
# keep_aspect_ratio_policy the output has another shape.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

def model(mode, height, width, **options):
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode=mode, axes=[2, 3], **options)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "h", "w"])
    sizes = numpy_helper.from_array(np.array([height, width]), "sizes")
    graph = helper.make_graph([node], "resize", [x], [y], [sizes])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()

def both(*arguments, **options):
    core, graph = openvino.Core(), model(*arguments, **options)
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return onnxruntime.InferenceSession(graph).run(None, {"x": x})[0], compiled([x])[0]

x = np.zeros((1, 1, 16, 16), np.float32)
x[..., [1, 2, 5, 6, 9, 10, 13, 14]] = 1  # stripes, two pixels wide
for arguments, options in (
    (("linear", 4, 4), {"antialias": 1}),
    (("cubic", 4, 4), {"antialias": 1}),
    (("cubic", 32, 32), {"exclude_outside": 1}),
    (("linear", 8, 4), {"keep_aspect_ratio_policy": "not_larger"}),
):
    plain, plain_openvino = both(*arguments)
    exact, answer = both(*arguments, **options)
    spread = [f"{y.shape[2]} x {y.shape[3]}, from {y.min():.2f} to {y.max():.2f}" for y in (exact, answer)]
    print(f"{arguments}, {options}: onnxruntime {spread[0]}, openvino {spread[1]}")
    assert np.allclose(plain, plain_openvino, atol=1e-5)
    assert np.array_equal(answer, plain_openvino), "this has changed"
    assert exact.shape != answer.shape or abs(exact - answer).max() > 0.01, "this has changed"
PYTHON
