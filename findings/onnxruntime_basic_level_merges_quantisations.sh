#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2: a float signal that is quantised twice in a row with different scales
# (QuantizeLinear, DequantizeLinear, QuantizeLinear, DequantizeLinear), in front of a MatMul.
# Guess: "basic" graph optimisations are redundant-node eliminations that keep the result.
# Seen: at the basic level (and above) the two roundings become one, with another result: about 1 % off what the
# graph says. Only ORT_DISABLE_ALL computes the model as it is written.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON' 2>/dev/null
import numpy as np, onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 8)).astype(np.float32)
V = rng.normal(size=(8, 4)).astype(np.float32)
s1, z1, s2, z2 = np.float32(0.02), np.uint8(128), np.float32(0.03), np.uint8(120)

def twice(x):
    for scale, zero in ((s1, z1), (s2, z2)):
        levels = np.clip(np.rint(x / scale) + float(zero), 0, 255)
        x = ((levels - float(zero)) * scale).astype(np.float32)
    return x

node = helper.make_node
graph = helper.make_graph(
    [
        node("QuantizeLinear", ["x", "s1", "z1"], ["a"]), node("DequantizeLinear", ["a", "s1", "z1"], ["b"]),
        node("QuantizeLinear", ["b", "s2", "z2"], ["c"]), node("DequantizeLinear", ["c", "s2", "z2"], ["d"]),
        node("MatMul", ["d", "V"], ["y"]),
    ],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    [numpy_helper.from_array(np.asarray(a), n) for n, a in {"s1": s1, "z1": z1, "s2": s2, "z2": z2, "V": V}.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
exact = twice(X) @ V
errors = {}
for name in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"):
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, name)
    y = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": X})[0]
    errors[name] = float(np.linalg.norm(y - exact) / np.linalg.norm(exact))
    print(f"{name}: {errors[name]:.1e}")
assert errors["ORT_DISABLE_ALL"] < 1e-6 < 1e-3 < errors["ORT_ENABLE_BASIC"], "this has changed"
PYTHON
