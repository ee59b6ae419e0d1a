#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0: MatMul of an input by a constant stack of
# matrices, one for each head, group or expert, shared by the samples of the batch.
# Guess: broadcast as numpy's, as the specification says: sample i and head j is x[i, j] @ w[j], whether w is a constant
# or a second input.
# Seen: with w an input all is right, and so it is with a constant for one sample, so that a test passes. From two
# samples on only the first matrix of a constant is right: the copy that is made of the constant is cut as if it had
# one matrix for each product, so that with two samples the second head's matrix is the second half of the first and
# the first half of the second. Shapes are right and no error is raised. A constant repeated in full, w of shape
# (samples, heads, ...), is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)

def model(x, w, constant):
    shapes = {"x": x.shape, "w": w.shape, "y": np.matmul(x, w).shape}
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    inputs = [infos["x"]] if constant else [infos["x"], infos["w"]]
    constants = [numpy_helper.from_array(w, "w")] if constant else []
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "heads", inputs, [infos["y"]], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()

def by_opencv(made, feed):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made, np.uint8))
    for name, value in feed.items():
        net.setInput(value, name)
    return net.forward()

seen = {}
for title, left, right in (
    ("1 sample, 3 heads", (1, 3, 5, 8), (3, 8, 4)),
    ("2 samples, 3 heads", (2, 3, 5, 8), (3, 8, 4)),
    ("4 samples, 2 experts of one input", (4, 1, 5, 8), (2, 8, 4)),
    ("2 samples, a matrix for each", (2, 3, 5, 8), (2, 1, 8, 4)),
    ("2 samples, 3 heads, repeated", (2, 3, 5, 8), (2, 3, 8, 4)),
):
    x, w = rng.standard_normal(left).astype("f"), rng.standard_normal(right).astype("f")
    if title.endswith("repeated"):
        w[1] = w[0]  # what a constant of shape (3, 8, 4) means
    stacks = np.broadcast_to(w, (len(x), *w.shape[-3:]))
    heads = range(max(left[1], right[-3]))
    exact = np.array(
        [[sample[k % left[1]] @ stack[k % right[-3]] for k in heads] for sample, stack in zip(x, stacks)]
    )
    for constant in (False, True):
        made = model(x, w, constant)
        feed = {"x": x} if constant else {"x": x, "w": w}
        assert np.allclose(onnxruntime.InferenceSession(made).run(None, feed)[0], exact, atol=1e-4)
        answer = by_opencv(made, feed)
        assert answer.shape == exact.shape
        right_ones = np.isclose(answer, exact, atol=1e-4).all(axis=(2, 3))
        seen[title, constant] = right_ones.tolist()
        print(f"{title}, weights {'constant' if constant else 'an input'}: right for {right_ones.sum()} of", end=" ")
        print(f"{right_ones.size} products, off by {abs(answer - exact).max():.2g}")
        if title == "2 samples, 3 heads" and constant:
            second = w.ravel()[w[0].size // 2 :][: w[0].size].reshape(w[0].shape)
            print("second head's matrix cut at half:", np.allclose(answer[:, 1], x[:, 1] @ second, atol=1e-4))
first_head, first_sample = [[True, False, False]] * 2, [[True] * 3, [False] * 3]
assert seen.pop(("2 samples, 3 heads", True)) == first_head, "this has changed"
assert seen.pop(("4 samples, 2 experts of one input", True)) == [[True, False]] * 4, "this has changed"
assert seen.pop(("2 samples, a matrix for each", True)) == first_sample, "this has changed"
assert all(np.all(flags) for flags in seen.values())
PYTHON
