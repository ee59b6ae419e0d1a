#!/usr/bin/env bash
# tract 0.23.9, onnx 1.23.2, onnxruntime 1.32.0: a constant for each channel minus, or over, the output of a Conv.
# Guess: that is c - b - w * x and no sum of c and what the filters say: a runtime that works the constant into the
# filters turns their sign, or lets it be; into a quotient nothing can be worked.
# Seen: c - (w * x + b) is run as w * x + (c - b): the bias is subtracted and the filters are not, so that all that
# depends on the input has the wrong sign; c over the output is some other linear layer. No error is raised, in one
# dimension as in two. The output minus c is right, and so are one number in place of one for each channel, filters
# of 1 x 1, filters by group, a Relu between the two, and MatMul.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    tract==0.23.9 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 scipy==1.17.1
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper, numpy_helper
from scipy.signal import correlate

rng = np.random.default_rng(0)
bias, offset = np.array([3, 4], np.float32), np.array([[1], [-2]], np.float32)

def one_by_hand(x, w, group):
    """Filters over the images, without padding and without the bias."""
    size = x.shape[1] // group
    rows = [
        sum(correlate(x[0, k // (len(w) // group) * size + c], part, "valid") for c, part in enumerate(filter_))
        for k, filter_ in enumerate(w)
    ]
    return np.stack(rows)[None]

def case(kind, dimensions=2, width=3, group=1, scalar=False, relu=False):
    """What was run, what is right, and what the filters with an unturned sign would give."""
    x = rng.standard_normal((1, 2) + (6,) * dimensions).astype("f")
    w = rng.standard_normal((2, 2 // group) + (width,) * dimensions).astype("f")
    c = np.float32(1.5) if scalar else offset.reshape(2, *(1,) * dimensions)
    names = ["c", "z"] if kind != "conv - c" else ["z", "c"]
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["u" if relu else "z"], group=group)]
    nodes += [helper.make_node("Relu", ["u"], ["z"])] * relu
    nodes += [helper.make_node("Div" if kind == "c / conv" else "Sub", names, ["y"])]
    linear = one_by_hand(x, w, group)
    b = bias.reshape(2, *(1,) * dimensions)
    z = np.maximum(linear + b, 0) if relu else linear + b
    exact = {"c - conv": lambda: c - z, "conv - c": lambda: z - c, "c / conv": lambda: c / z}[kind]()
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", x.shape), ("y", exact.shape))]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in (("w", w), ("b", bias), ("c", c))]
    graph = helper.make_graph(nodes, "graph", infos[:1], infos[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, "model.onnx")
    by_onnxruntime = onnxruntime.InferenceSession("model.onnx").run(None, {"x": x})[0]
    assert np.allclose(by_onnxruntime, exact, rtol=1e-3, atol=1e-4)
    model = tract.onnx().load("model.onnx").into_model()
    return model.into_runnable().run([x])[0].to_numpy(), exact, linear + c - b

seen = {}
for name, options in {
    "c - conv": {},
    "c - conv, one dimension": {"dimensions": 1},
    "c / conv": {},
    "conv - c": {},
    "c - conv, one number": {"scalar": True},
    "c - conv, 1 x 1": {"width": 1},
    "c - conv, by group": {"group": 2},
    "c - conv, Relu between": {"relu": True},
}.items():
    answer, exact, unturned = case(name.split(",")[0], **options)
    seen[name] = [np.allclose(answer, wanted, rtol=1e-3, atol=1e-4) for wanted in (exact, unturned)]
    told = "right" if seen[name][0] else "wrong: w * x + (c - b)" if seen[name][1] else "wrong"
    print(f"{name}: {told}; {answer.ravel()[:3].round(3)}, exact {exact.ravel()[:3].round(3)}")
wrong = [name for name, (right, _) in seen.items() if not right]
assert wrong == ["c - conv", "c - conv, one dimension", "c / conv"], "this has changed"
assert seen["c - conv"][1] and seen["c - conv, one dimension"][1], "this has changed"
PYTHON
