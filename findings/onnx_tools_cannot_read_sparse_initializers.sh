#!/usr/bin/env bash
# onnx 1.23.2, onnx-ir 1.1.0, onnxruntime 1.32.0: a MatMul whose weight is a sparse initializer, which is how the ONNX
# specification stores a matrix with many zeros.
# Guess: what runs in onnxruntime passes through onnx's own tools as well.
# Seen: onnxruntime runs it, and exactly. In onnx itself the full check and shape inference take the weight for a
# scalar and refuse the model, the reference evaluator and the version converter raise. onnx-ir, on which
# the optimiser of onnxscript and the exporter of torch stand, raises nothing: it logs a line, and the
# model that it writes has lost the weight and no longer loads.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnx-ir==1.1.0
"$work/env/bin/python" - <<'PYTHON' 2>/dev/null
import numpy as np, onnx, onnx_ir, onnxruntime as ort
from onnx import TensorProto, checker, helper, numpy_helper, reference, shape_inference, version_converter

rng = np.random.default_rng(0)
W = rng.standard_normal((8, 6)).astype(np.float32) * (rng.random((8, 6)) < 0.3)
X = rng.standard_normal((5, 8)).astype(np.float32)
places = np.flatnonzero(W)
sparse = helper.make_sparse_tensor(
    numpy_helper.from_array(W.ravel()[places], "W"), numpy_helper.from_array(places, "places"), W.shape
)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "W"], ["y"])],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])],
    sparse_initializer=[sparse],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
checker.check_model(model)

def run(model):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(abs(session.run(None, {"x": X})[0] - X @ W).max())

def refusal(work):
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: " + " ".join(str(error).split())[:90]

error = run(model)
print(f"onnxruntime: {error:.0e} off; onnx.checker without full_check: passes")
assert error < 1e-6
refused = {
    "full check": refusal(lambda: checker.check_model(model, full_check=True)),
    "shape inference": refusal(lambda: shape_inference.infer_shapes(model, strict_mode=True)),
    "reference evaluator": refusal(lambda: reference.ReferenceEvaluator(model).run(None, {"x": X})),
    "version converter": refusal(lambda: version_converter.convert_version(model, 22)),
}
through = onnx_ir.to_proto(onnx_ir.from_proto(model))
refused["onnxruntime, after onnx-ir"] = refusal(lambda: run(through))
for tool, what in refused.items():
    print(f"{tool}: {what}")
weights = len(through.graph.sparse_initializer) + len(through.graph.initializer)
print("weights of the model that onnx-ir writes:", weights)
assert all(refused.values()) and weights == 0, "this has changed"
PYTHON
