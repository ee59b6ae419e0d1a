#!/usr/bin/env bash
# onnx 1.23.2 (onnx.reference.ReferenceEvaluator), onnxruntime 1.32.0: LSTM, GRU and RNN with what ONNX's specification
# lets them be told: lengths of the sequences of a batch (sequence_lens), clip, activations and input_forget.
# Guess: the evaluator that documents the operators runs them as they are documented, or raises, as it does for an
# operator that it doesn't have.
# Seen: plain layers are right to 1e-6, in each direction. All four options are dropped, and the output is exactly the
# one without: a padded batch is read to its end, padding included, so that the last state, and all of "reverse", is
# made of the padding; a Relu asked for is still a Tanh (RNN alone raises there). onnxruntime is right in all, by runs
# of each sequence alone and by the formula in NumPy.
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
x = rng.standard_normal((5, 3, 4)).astype(np.float32)  # steps, samples, features
lengths = np.array([5, 3, 2], np.int32)
gates = {"LSTM": 4, "GRU": 3, "RNN": 1}
weights = {
    kind: [rng.standard_normal(shape).astype(np.float32) / 2 for shape in ((1, 6 * n, 4), (1, 6 * n, 6), (1, 12 * n))]
    for kind, n in gates.items()
}

def both(kind, signal, options="", sizes=None):
    """The last states by the reference evaluator and by onnxruntime."""
    shape = ",".join(map(str, signal.shape))
    made = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 14]>
    layer (float[{shape}] x) => (float[d,n,h] last)
    {{ y, last = {kind}<hidden_size = 6 {options}>(x, w, r, b{", sizes" if sizes is not None else ""}) }}""")
    arrays = dict(zip("wrb", weights[kind])) | ({} if sizes is None else {"sizes": sizes})
    made.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    return ReferenceEvaluator(made).run(None, {"x": signal})[0], session.run(None, {"x": signal})[0]

def told(name, reference, runtime, exact, plain):
    errors = [abs(answer - exact).max() for answer in (reference, runtime)]
    print(f"{name}: reference evaluator {errors[0]:.1e} off, onnxruntime {errors[1]:.1e}")
    assert errors[1] < 1e-5 and errors[0] > 0.1, "this has changed"
    assert np.array_equal(reference, plain), "this has changed"

for kind in gates:
    for direction in ("forward", "reverse"):
        way = f', direction = "{direction}"'
        plain, runtime = both(kind, x, way)
        assert np.allclose(plain, runtime, atol=1e-5)
        alone = [both(kind, x[:length, [i]], way)[0] for i, length in enumerate(lengths)]
        told(f"{kind}, {direction}, sequence_lens", *both(kind, x, way, lengths), np.concatenate(alone, 1), plain)

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def lstm(clip=np.inf, forget_is_input=False, inner=np.tanh):
    """The last state of the LSTM from its formula."""
    w, r, b = (array[0].astype(float) for array in weights["LSTM"])
    state, cell = np.zeros((2, 3, 6))
    for step in x:
        pre = np.clip(step @ w.T + state @ r.T + b[:24] + b[24:], -clip, clip)
        input_, output, forget, new = (pre[:, 6 * i : 6 * i + 6] for i in range(4))
        kept = 1 - sigmoid(input_) if forget_is_input else sigmoid(forget)
        cell = kept * cell + sigmoid(input_) * inner(new)
        state = sigmoid(output) * np.tanh(cell)
    return state[None]

plain = both("LSTM", x)[0]
assert np.allclose(plain, lstm(), atol=1e-5)
told("LSTM, clip", *both("LSTM", x, ", clip = 0.3"), lstm(clip=0.3), plain)
told("LSTM, input_forget", *both("LSTM", x, ", input_forget = 1"), lstm(forget_is_input=True), plain)
relu = both("LSTM", x, ', activations = ["Sigmoid", "Relu", "Tanh"]')
told("LSTM, activations", *relu, lstm(inner=lambda z: np.maximum(z, 0)), plain)
PYTHON
