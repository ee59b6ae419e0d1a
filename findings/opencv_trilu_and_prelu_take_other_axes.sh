#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0: the triangle of a matrix (Trilu), as a
# causal mask is cut, and PRelu whose slopes lie along the last axis or the rows.
# Guess: the triangle is numpy's at every shape, and slopes broadcast as numpy's, as the specification says of both; a
# shape that a layer hasn't is refused, as PRelu refuses slopes along the last of three axes.
# Seen: of a matrix taller than wide the rows below the square are left as they were: an upper triangle keeps numbers
# under its diagonal, a lower one with k below zero keeps too many, in each matrix of a stack. Wide ones are right. Of
# an image's slopes only those of one number or one for each channel are right: five along its five columns, or four
# along its four rows, are read as channels' slopes, one for each of three channels, the rest unused. No error is
# raised.
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

def by_opencv(node, x, **constants):
    shape = ",".join(map(str, x.shape))
    made = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
    one (float[{shape}] x) => (float[{shape}] y) {{ y = {node} }}""")
    made.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(made, full_check=True)
    exact = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made.SerializeToString(), np.uint8))
    net.setInput(x, "x")
    answer = net.forward()
    assert answer.shape == exact.shape
    return answer, exact

for shape in ((3, 5), (4, 4), (5, 3), (2, 5, 3)):
    x = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    for upper, k in ((1, 0), (1, 1), (0, 0), (0, -2)):
        answer, exact = by_opencv(f"Trilu<upper = {upper}>(x, k)", x, k=np.array(k))
        assert np.array_equal(exact, np.triu(x, k) if upper else np.tril(x, k))
        side = min(shape[-2:])
        kept = exact.copy()
        if upper or k < 0:
            kept[..., side:, :] = x[..., side:, :]
        wrong = (answer != exact).any(-1).sum()
        if wrong:
            print(f"Trilu of {shape}, upper={upper}, k={k}: {wrong} rows are wrong")
        assert np.array_equal(answer, kept), "this has changed"
        assert (wrong > 0) == (shape[-2] > shape[-1] and (upper or k < 0))

x = -np.ones((1, 3, 4, 5), np.float32)  # so that the output is minus the slope
for name, shape in (("channels", (3, 1, 1)), ("columns", (5,)), ("rows", (4, 1))):
    slopes = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    answer, exact = by_opencv("PRelu(x, slopes)", x, slopes=slopes)
    assert np.array_equal(exact, x * slopes)
    print(f"PRelu, slopes for {name}: {'right' if np.array_equal(answer, exact) else 'taken for slopes of channels'}")
    assert np.array_equal(answer, x * slopes.ravel()[:3, None, None]), "this has changed"
PYTHON
