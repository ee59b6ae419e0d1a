#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0: products and logarithms that look like the
# written-out form of an activation but for one operand.
# Guess: nodes are replaced by one activation where they are that activation: a product x * HardSigmoid(x) is HardSwish
# if both factors come from one tensor, a logarithm log(exp(x) + c) is Softplus if c is 1, as it's done for Swish,
# which is right.
# Seen: the other operand is not looked at. A gate of squeeze-and-excitation, features * HardSigmoid(scores), as
# MobileNetV3 has it, is run as HardSwish(scores), so the features are gone and the output is pooled; so is the other
# factor of y * tanh(softplus(x)), run as Mish(x), and of y * (1 + erf(x / sqrt(2))) / 2, run as Gelu(x). The logarithm
# of exp(x) + 2 is run as Softplus(x), and that of exp(x) + exp(y) as Softplus(y): x has no effect at all. No error is
# raised.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 scipy==1.17.1
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import cv2
import numpy as np
import onnx
import onnxruntime
from scipy.special import erf, expit

onnxruntime.set_default_logger_severity(3)
rng = np.random.default_rng(0)
x, y = (rng.standard_normal((2, 4, 5)).astype("f") for _ in range(2))

def softplus(z):
    return np.log1p(np.exp(z))

def hard_sigmoid(z):
    return np.clip(z / 6 + 0.5, 0, 1)

# name: nodes, the right answer, the activation of one operand alone
gates = {
    "y * HardSigmoid(x)": (
        "g = HardSigmoid<alpha=0.16666667, beta=0.5>(x) z = Mul(y, g)",
        y * hard_sigmoid(x), x * hard_sigmoid(x),
    ),
    "y * tanh(softplus(x))": (
        "s = Softplus(x) t = Tanh(s) z = Mul(y, t)", y * np.tanh(softplus(x)), x * np.tanh(softplus(x)),
    ),
    "y * (1 + erf(x / sqrt(2))) / 2": (
        "d = Div(x, root) e = Erf(d) o = Add(e, one) p = Mul(y, o) z = Mul(p, half)",
        y * (1 + erf(x / np.sqrt(2))) / 2, x * (1 + erf(x / np.sqrt(2))) / 2,
    ),
    "log(exp(x) + 2)": ("e = Exp(x) a = Add(e, two) z = Log(a)", np.log(np.exp(x) + 2), softplus(x)),
    "log(exp(x) + exp(y))": (
        "e = Exp(x) f = Exp(y) a = Add(e, f) z = Log(a)", np.logaddexp(x, y), softplus(y),
    ),
    "y * HardSigmoid(x), x pooled": (
        "p = ReduceMean<keepdims=1>(x, last) g = HardSigmoid<alpha=0.16666667, beta=0.5>(p) z = Mul(y, g)",
        y * hard_sigmoid(x.mean(-1, keepdims=True)),
        np.broadcast_to((lambda p: p * hard_sigmoid(p))(x.mean(-1, keepdims=True)), x.shape),
    ),
    "y * sigmoid(x)": ("s = Sigmoid(x) z = Mul(y, s)", y * expit(x), x * expit(x)),
}

def model(nodes):
    text = f"""<ir_version: 9, opset_import: ["" : 18]>
    gate (float[2,4,5] x, float[2,4,5] y) => (float[2,4,5] z)
    <float root = {{1.4142135}}, float one = {{1}}, float half = {{0.5}}, float two = {{2}}, int64[1] last = {{-1}}>
    {{ {nodes} }}"""
    made = onnx.parser.parse_model(text)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()

def by_opencv(made):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made, np.uint8))
    net.setInput(x, "x")
    net.setInput(y, "y")
    return net.forward()

seen = {}
for name, (nodes, exact, alone) in gates.items():
    made = model(nodes)
    assert np.allclose(onnxruntime.InferenceSession(made).run(None, {"x": x, "y": y})[0], exact, atol=1e-4)
    answer = by_opencv(made)
    seen[name] = np.allclose(answer, exact, atol=1e-3), np.allclose(answer, alone, atol=1e-3)
    told = "right" if seen[name][0] else "the activation of one operand alone" if seen[name][1] else "wrong"
    print(f"{name}: {told}; off by {abs(answer - exact).max():.2g}")
assert seen.pop("y * sigmoid(x)")[0]
assert set(seen.values()) == {(False, True)}, "this has changed"
PYTHON
