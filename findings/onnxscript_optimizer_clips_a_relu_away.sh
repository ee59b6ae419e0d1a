#!/usr/bin/env bash
# onnxscript 0.7.2, torch 2.13.0 (CPU), onnx 1.23.2, onnxruntime 1.32.0: a bound on what another bound has left, as
# in relu(hardtanh(x, -2, -0.5)), through onnxscript.optimizer.optimize and through torch.onnx.export, which calls it.
# Guess: two bounds become one only where that is the same function, and what leaves a ReLU is never negative.
# Seen: lower bounds are joined by their maximum and upper ones by their minimum, in whichever order they stood. Where
# the intervals do not meet, the last bound no longer wins: the ReLU's output is -0.5 for every input, a clip to [3, 5]
# puts out 2, and Min after Max likewise. onnxruntime's own optimiser keeps all of them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
"$work/env/bin/python" -W ignore - <<'PYTHON'
import contextlib
import io
import logging

import numpy as np
import onnx
import onnxruntime as ort
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

logging.disable(logging.WARNING)
x = np.linspace(-4, 4, 9, dtype=np.float32)

def model(*steps):
    nodes, constants, last = [], [], "x"
    for k, (operator, *bounds) in enumerate(steps):
        names = [f"bound{k}{j}" for j in range(len(bounds))]
        constants += [numpy_helper.from_array(np.float32(b), name) for b, name in zip(bounds, names)]
        nodes.append(helper.make_node(operator, [last, *names], [f"y{k}"]))
        last = f"y{k}"
    ends = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [9]) for name in ("x", last))
    graph = helper.make_graph(nodes, "graph", *([end] for end in ends), constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

def run(model, level="ORT_DISABLE_ALL"):
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]

cases = {
    "Clip to [-2, -0.5], Relu": model(("Clip", -2, -0.5), ("Relu",)),
    "Clip to [0, 2], Clip to [3, 5]": model(("Clip", 0, 2), ("Clip", 3, 5)),
    "Max 0, Min 2, Max 3, Min 5": model(("Max", 0), ("Min", 2), ("Max", 3), ("Min", 5)),
}
for name, graph in cases.items():
    right = run(graph)
    assert np.array_equal(run(graph, "ORT_ENABLE_ALL"), right)
    optimised = onnxscript.optimizer.optimize(graph)
    seen = run(optimised)
    print(f"{name}: {np.unique(right)}; optimised {[node.op_type for node in optimised.graph.node]}: {np.unique(seen)}")
    assert not np.allclose(seen, right), "this has changed"

module = nn.Sequential(nn.Hardtanh(-2.0, -0.5), nn.ReLU())
with contextlib.redirect_stdout(io.StringIO()):
    exported = torch.onnx.export(module, (torch.from_numpy(x),), dynamo=True, verbose=False).model_proto
seen, right = run(exported), module(torch.from_numpy(x)).numpy()
print("torch, Hardtanh and ReLU:", np.unique(right), "exported:", np.unique(seen))
assert right.min() == 0 and seen.max() < 0, "this has changed"
PYTHON
