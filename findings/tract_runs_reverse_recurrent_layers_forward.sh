#!/usr/bin/env bash
# tract 0.23.9, onnx 1.23.2, onnxruntime 1.32.0: an LSTM, a GRU and an RNN in each direction, with the same weights.
# Guess: what has its own attribute in the specification is run as it says, or refused; "reverse" is half of
# "bidirectional" and cannot be the harder one.
# Seen: "bidirectional" is right, its second half included. "reverse" alone is read from the first step to the last, as
# if it said "forward": another network's outputs, without a word.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    tract==0.23.9 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper, numpy_helper

units, inputs, steps = 3, 2, 5

def model(kind, direction, rng):
    gates, ways = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 1 + (direction == "bidirectional")
    shapes = {"W": (ways, gates * units, inputs), "R": (ways, gates * units, units), "B": (ways, 2 * gates * units)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype("f"), name) for name, s in shapes.items()]
    node = helper.make_node(kind, ["x", *shapes], ["y"], hidden_size=units, direction=direction)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, 1, inputs])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [steps, ways, 1, units])
    graph = helper.make_graph([node], "layer", [x], [y], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made

def by_onnxruntime(kind, direction):
    made = model(kind, direction, np.random.default_rng(0))
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]

def by_tract(kind, direction):
    onnx.save(model(kind, direction, np.random.default_rng(0)), "layer.onnx")
    return tract.onnx().load("layer.onnx").into_model().into_runnable().run([x])[0].to_numpy()

x = np.random.default_rng(1).standard_normal((steps, 1, inputs)).astype("f")
for kind in ("LSTM", "GRU", "RNN"):
    off = {}
    for direction in ("forward", "bidirectional", "reverse"):
        off[direction] = abs(by_tract(kind, direction) - by_onnxruntime(kind, direction)).max()
    as_forward = abs(by_tract(kind, "reverse") - by_onnxruntime(kind, "forward")).max()
    told = ", ".join(f"{direction} {error:.0e}" for direction, error in off.items())
    print(f"{kind}: tract differs from onnxruntime by {told}; its reverse from a forward layer by {as_forward:.0e}")
    assert max(off["forward"], off["bidirectional"], as_forward) < 1e-5
    assert off["reverse"] > 0.05, "this has changed"
PYTHON
