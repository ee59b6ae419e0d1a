#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0: Conv, MaxPool and AveragePool
# with auto_pad: SAME_UPPER, as converters from TensorFlow write it, and SAME_LOWER.
# Guess: the padding is what the output's size, input over stride rounded up, needs in all; where that is odd the last
# pixel goes to the end (UPPER) or to the beginning (LOWER). The two differ, or one of them is refused.
# Seen: OpenCV pads as if the stride were 1, and as UPPER in both. A filter of 3 with stride 2 over 6 pixels, the first
# layer of many networks at an even size, gets its pixel of padding at the beginning where UPPER has it at the end: all
# is shifted by one pixel, without a word. A window of 2 with stride 1 is padded at the end under LOWER too. The same
# padding written as pads is right, and so are odd sizes, where nothing is left over.
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

def off(kind, size, window, stride, written=False, **options):
    """OpenCV's largest error against onnxruntime; written out, the padding is given as pads."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2, size, size)).astype(np.float32)
    filters = rng.standard_normal((2, 2, window, window)).astype(np.float32)
    out = -(-size // stride)
    if written:
        rest = max((out - 1) * stride + window - size, 0)
        small, large = rest // 2, rest - rest // 2
        upper = options["auto_pad"] == "SAME_UPPER"
        options = {"pads": [small, small, large, large] if upper else [large, large, small, small]}
    constants = [numpy_helper.from_array(filters, "filters")] if kind == "Conv" else []
    node = helper.make_node(
        kind, ["x", *(c.name for c in constants)], ["y"],
        kernel_shape=[window] * 2, strides=[stride] * 2, **options,
    )
    put_in = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
    put_out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, out, out])
    graph = helper.make_graph([node], "graph", [put_in], [put_out], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    right = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made.SerializeToString(), np.uint8))
    net.setInput(x, "x")
    answer = net.forward()
    assert answer.shape == right.shape
    return abs(answer - right).max()

wrong = {("SAME_UPPER", 6, 3, 2), ("SAME_UPPER", 8, 7, 2), ("SAME_LOWER", 6, 2, 1)}
for kind in ("Conv", "MaxPool", "AveragePool"):
    for pad in ("SAME_UPPER", "SAME_LOWER"):
        for size, window, stride in ((6, 3, 2), (8, 7, 2), (6, 2, 1), (7, 3, 2), (6, 3, 1)):
            error = off(kind, size, window, stride, auto_pad=pad)
            as_pads = off(kind, size, window, stride, written=True, auto_pad=pad)
            title = f"{kind}, {pad}, {size} pixels, window {window}, stride {stride}"
            print(f"{title}: {error:.0e} off; as pads {as_pads:.0e}")
            assert as_pads < 1e-4
            assert (error > 0.1) == ((pad, size, window, stride) in wrong), "this has changed"
PYTHON
