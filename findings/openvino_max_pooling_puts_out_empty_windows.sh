#!/usr/bin/env bash
# openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.32.0: pooling with ceil_mode=1, where the last window would begin
# behind the image (5 pixels, 1 of padding, windows of 2 in steps of 2).
# Guess: that window is left out, as the ONNX specification says since version 22 and torch always did, by every pooling
# alike.
# Seen: onnxruntime leaves it out. OpenVINO leaves it out of AveragePool and keeps it in MaxPool: one row and one column
# more, all of them -3.4e38, the maximum of nothing, and the mean over the image is infinite. AveragePool
# with count_include_pad=1 is divided by the whole window, what lies behind the padding counted too (4 pixels).
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
from onnx import TensorProto, helper

onnxruntime.set_default_logger_severity(3)

def model(kind, window, pads):
    options = {} if kind == "MaxPool" else {"count_include_pad": 1}
    node = helper.make_node(
        kind, ["x"], ["y"], kernel_shape=[window] * 2, strides=[2, 2], pads=[pads] * 4, ceil_mode=1, **options
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "p", "q"])
    graph = helper.make_graph([node], "pooling", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(made)
    return made.SerializeToString()

def by_hand(x, kind, window, pads):
    """Windows that begin in the image or in the padding before it; padding counts, what lies behind it does not."""
    image, size = x[0, 0], x.shape[-1]
    starts = [start for start in range(-pads, size, 2) if start < size + pads - window + 2]
    def pool(top, left):
        rows, columns = (slice(max(start, 0), start + window) for start in (top, left))
        part = image[rows, columns]
        if kind == "MaxPool":
            return part.max()
        height, width = (min(start + window, size + pads) - start for start in (top, left))
        return part.sum() / (height * width)
    return np.array([[[[pool(top, left) for left in starts] for top in starts]]])

def three(kind, size, window, pads):
    x = np.random.default_rng(0).standard_normal((1, 1, size, size)).astype("f")
    core, graph = openvino.Core(), model(kind, window, pads)
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {
        "by hand": by_hand(x, kind, window, pads),
        "onnxruntime": onnxruntime.InferenceSession(graph).run(None, {"x": x})[0],
        "openvino": compiled([x])[0],
    }

seen = {}
for case in (("MaxPool", 5, 3, 1), ("MaxPool", 5, 2, 1), ("AveragePool", 5, 2, 1), ("AveragePool", 4, 3, 1)):
    seen[case] = three(*case)
    told = ", ".join(f"{name} {y.shape[2]} x {y.shape[3]}, mean {y.mean():.2g}" for name, y in seen[case].items())
    print("{}, {} pixels, windows of {}, padding {}:".format(*case), told)

def agree(case, name):
    y, exact = seen[case][name], seen[case]["by hand"]
    return y.shape == exact.shape and np.allclose(y, exact, atol=1e-5)

assert all(agree(case, "onnxruntime") for case in seen)
assert agree(("MaxPool", 5, 3, 1), "openvino") and agree(("AveragePool", 5, 2, 1), "openvino")
empty = seen["MaxPool", 5, 2, 1]["openvino"]
assert empty.shape[2:] == (4, 4) and (empty[:, :, -1] < -3e38).all(), "this has changed"
corner = [seen["AveragePool", 4, 3, 1][name][0, 0, -1, -1] for name in ("by hand", "openvino")]
assert np.isclose(4 * corner[0], 9 * corner[1]), "this has changed"
PYTHON
