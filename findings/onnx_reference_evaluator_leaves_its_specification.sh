#!/usr/bin/env bash
# onnx 1.23.2 (onnx.reference.ReferenceEvaluator), onnxruntime 1.32.0: five operators against their formula in NumPy.
# Guess: the evaluator is what the specification means, so where a runtime differs from it the runtime is wrong.
# Seen: onnxruntime has the formula each time, the evaluator has not. LpNormalization with p=1 divides by the sum, not
# by the sum of absolute values, so that a row whose sum is negative changes its sign. LRN runs over as many channels
# as there are samples in the batch and leaves the others unsquared, divided by the bias alone. The indices of MaxPool
# point elsewhere unless the stride is the window. MaxPool with SAME_LOWER and stride 2 puts out a row too few, of 5
# pixels 2 in place of 3. The mean of NegativeLogLikelihoodLoss counts the labels that ignore_index leaves out. With
# other values of the same attributes (p=2, six samples, stride 2, SAME_UPPER, a sum) all five are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

rng = np.random.default_rng(0)

def lp(x, p):
    return x / (abs(x) ** p).sum(1, keepdims=True) ** (1 / p)

def lrn(x):
    squares = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return x / (2 + 0.5 / 3 * (squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:])) ** 0.75

def largest(x, stride):
    """The places of the largest of each window of 2 x 2, counted over the whole array."""
    places = np.arange(x.size).reshape(x.shape)
    windows = [np.lib.stride_tricks.sliding_window_view(z, (2, 2), (2, 3)) for z in (x, places)]
    values, where = (z[:, :, ::stride, ::stride].reshape(*z[:, :, ::stride, ::stride].shape[:4], 4) for z in windows)
    return np.take_along_axis(where, values.argmax(-1)[..., None], -1)[..., 0]

def same(x, before, after):
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, (2, 2), (2, 3))[:, :, ::2, ::2].max((-2, -1))

labels = np.array([[0, 2, 1], [1, -1, 2]])

def kept(x):
    return np.array([-x[n, labels[n, d], d] for n in range(2) for d in range(3) if labels[n, d] >= 0])

def loss(reduction):
    return f'y = NegativeLogLikelihoodLoss<reduction = "{reduction}", ignore_index = -1>(x, labels)'

row, few, many = (rng.standard_normal(shape).astype("f") for shape in ((3, 8), (2, 6, 2, 2), (6, 6, 2, 2)))
image, odd, scores = (rng.standard_normal(shape).astype("f") for shape in ((2, 2, 4, 6), (1, 1, 5, 5), (2, 3, 3)))
local = "y = LRN<size = 3, alpha = 0.5, bias = 2.0>(x)"
pool = "MaxPool<kernel_shape = [2, 2], strides ="
cases = {  # input, node, type of the output, what it should be, whether the evaluator has it
    "LpNormalization, p=2": (row, "y = LpNormalization<axis = 1, p = 2>(x)", "float[a,b]", lp(row, 2), True),
    "LpNormalization, p=1": (row, "y = LpNormalization<axis = 1, p = 1>(x)", "float[a,b]", lp(row, 1), False),
    "LRN of 6 samples of 6 channels": (many, local, "float[a,b,c,d]", lrn(many), True),
    "LRN of 2 samples of 6 channels": (few, local, "float[a,b,c,d]", lrn(few), False),
    "MaxPool's indices, stride 2": (image, f"m, y = {pool} [2, 2]>(x)", "int64[a,b,c,d]", largest(image, 2), True),
    "MaxPool's indices, stride 1": (image, f"m, y = {pool} [1, 1]>(x)", "int64[a,b,c,d]", largest(image, 1), False),
    "SAME_UPPER": (odd, f'y = {pool} [2, 2], auto_pad = "SAME_UPPER">(x)', "float[a,b,c,d]", same(odd, 0, 1), True),
    "SAME_LOWER": (odd, f'y = {pool} [2, 2], auto_pad = "SAME_LOWER">(x)', "float[a,b,c,d]", same(odd, 1, 0), False),
    "loss, sum": (scores, loss("sum"), "float", kept(scores).sum(), True),
    "loss, mean": (scores, loss("mean"), "float", kept(scores).mean(), False),
}
for name, (x, node, kind, exact, right) in cases.items():
    made = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 22]>
    one (float[{",".join(map(str, x.shape))}] x) => ({kind} y) {{ {node} }}""")
    if "labels" in node:
        made.graph.initializer.append(onnx.numpy_helper.from_array(labels, "labels"))
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    answers = ReferenceEvaluator(made).run(None, {"x": x})[0], session.run(None, {"x": x})[0]
    shapes = [answer.shape for answer in answers]
    off = abs(answers[0] - exact).max() if shapes[0] == exact.shape else f"shape {shapes[0]} for {exact.shape},"
    print(f"{name}: reference evaluator {off if isinstance(off, str) else format(off, '.2g')} off")
    assert shapes[1] == exact.shape and np.allclose(answers[1], exact, atol=1e-5)
    agrees = shapes[0] == exact.shape and np.allclose(answers[0], exact, atol=1e-5)
    assert agrees == right, "this has changed"
PYTHON
