#!/usr/bin/env bash
# MNN 3.6.1, onnx 1.23.2, onnxruntime 1.32.0: Cast to bool and back, as masks are made, Not and And between the two;
# Shrink (soft and hard thresholds); Mod with fmod=1; Round; ArgMax with select_last_index=1.
# Guess: the converter refuses what it hasn't, as it does Hardmax and Swish; what it converts is right.
# Seen: a bool is the integer part: 0.7 is false, -2 and 3 stay -2 and 3, of which Not makes 3 and -2, And the product.
# Shrink tests negative numbers the wrong way round: -2 goes to 0, -0.4 stays. Mod with fmod=1 has the sign of the
# divisor, as without it; Round takes halves away from zero, not to the even number; ArgMax gives the first of equals
# whatever it is asked for. Nothing is said. Numbers that are 0 and 1 already, Mod of positive numbers and ArgMax
# without the attribute are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in onnx mnn; do python3 -m venv "$work/$name"; done
"$work/onnx/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$work/mnn/bin/pip" install --quiet --disable-pip-version-check MNN==3.6.1 numpy==2.4.6
cd "$work"
cat > make.py <<'PYTHON'
import numpy as np
import onnx
import onnxruntime

x = np.array([[-2, -1, -0.4, 0.7, 3, 3]], np.float32)
halves = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]], np.float32)
nodes = {  # each with the answer that MNN gives in place of ONNX's, or none
    "bits": (abs(x) > 2, "b = Cast<to = 9>(x) y = Cast<to = 1>(b)", None),
    "mask": (x, "b = Cast<to = 9>(x) y = Cast<to = 1>(b)", np.trunc(x)),
    "not": (x, "b = Cast<to = 9>(x) c = Not(b) y = Cast<to = 1>(c)", 1 - np.trunc(x)),
    "and": (x, "b = Cast<to = 9>(x) c = And(b, b) y = Cast<to = 1>(c)", np.trunc(x) ** 2),
    "shrink": (x, "y = Shrink<lambd = 0.5, bias = 0.1>(x)", [[0, 0, -0.3, 0.6, 2.9, 2.9]]),
    "mod of positive": (abs(x), "y = Mod<fmod = 1>(x, w)", None),
    "mod": (x, "y = Mod<fmod = 1>(x, w)", np.mod(x, 1.5)),
    "round": (halves, "y = Round(x)", np.sign(halves) * np.ceil(abs(halves))),
    "first": (x, "i = ArgMax<axis = 1>(x) y = Cast<to = 1>(i)", None),
    "last": (x, "i = ArgMax<axis = 1, select_last_index = 1>(x) y = Cast<to = 1>(i)", [[4]]),
}
arrays = {}
onnxruntime.set_default_logger_severity(3)  # a constant that only some of the graphs use
for name, (signal, node, instead) in nodes.items():
    made = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 18]>
    small (float[1,6] x) => (float[a,b] y) <float w = {{1.5}}> {{ {node} }}""")
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, f"{name}.onnx")
    arrays[name + " x"] = signal = np.asarray(signal, np.float32)
    arrays[name + " y"] = exact = onnxruntime.InferenceSession(f"{name}.onnx").run(None, {"x": signal})[0]
    arrays[name + " seen"] = exact if instead is None else np.asarray(instead, np.float32)
np.savez("arrays.npz", **arrays)
PYTHON
cat > run.py <<'PYTHON'
import sys

import _tools
import MNN.expr as F
import MNN.nn
import numpy as np

arrays = np.load("arrays.npz")
for name in dict.fromkeys(key.rsplit(" ", 1)[0] for key in arrays):
    x, exact, seen = (arrays[f"{name} {part}"] for part in ("x", "y", "seen"))
    files = ["--modelFile", f"{name}.onnx", "--MNNModel", f"{name}.mnn"]
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "small", "--keepInputFormat"])
    net = MNN.nn.load_module_from_file(f"{name}.mnn", ["x"], ["y"])
    y = np.array(net.forward([F.const(x, list(x.shape), F.NCHW)])[0].read()).reshape(exact.shape)
    print(f"{name}: MNN {y[0].round(2).tolist()}, ONNX {exact[0].round(2).tolist()}", file=sys.stderr)
    assert np.allclose(y, seen, atol=1e-5), "this has changed"
PYTHON
"$work/onnx/bin/python" -W ignore make.py
"$work/mnn/bin/python" -W ignore run.py > log || { tail log; exit 1; }
