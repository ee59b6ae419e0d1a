#!/usr/bin/env bash
# MNN 3.6.1, onnx 1.23.2, onnxruntime 1.32.0: layer normalisation written out in ONNX, as exporters before version 17 of
# the operators do: x minus its mean, over the root of the mean square, times a scale, plus a shift.
# Guess: mnnconvert makes one LayerNorm of it where that is what it says, with means, scale and shift along one axis,
# and leaves anything else as it is.
# Seen: means over the middle axis become LayerNorm too, and the scale and the shift, which are for the last axis, are
# applied along the middle one: of eight factors for eight features the first five are taken for the five positions.
# Nothing is said. The last axis is right, and so is the middle one without scale and shift.
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

rng = np.random.default_rng(0)
x, scale, shift = (rng.standard_normal(shape).astype("f") for shape in ((2, 5, 8), (8,), (8,)))
weight, bias = (onnx.numpy_helper.from_array(value, name) for value, name in ((scale, "scale"), (shift, "shift")))

def by_hand(axes, affine):
    centred = x - x.mean(axes, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + 0.01)
    return y * scale + shift if affine else y

answers = {"x": x}
for name, axes in (("last", (-1,)), ("middle", (1,))):
    for affine in (True, False):
        end = "n = Div(c, r) s = Mul(n, scale) y = Add(s, shift)" if affine else "y = Div(c, r)"
        made = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 18]>
        norm (float[2,5,8] x) => (float[2,5,8] y)
        <int64[{len(axes)}] axes = {{{", ".join(map(str, axes))}}}, float two = {{2}}, float small = {{0.01}}>
        {{ m = ReduceMean(x, axes) c = Sub(x, m) p = Pow(c, two) v = ReduceMean(p, axes)
           e = Add(v, small) r = Sqrt(e) {end} }}""")
        made.graph.initializer.extend([weight, bias] if affine else [])
        onnx.checker.check_model(made, full_check=True)
        title = f"{name}_{'affine' if affine else 'plain'}"
        onnx.save(made, title + ".onnx")
        answers[title] = by_hand(axes, affine)
        answer = onnxruntime.InferenceSession(title + ".onnx").run(None, {"x": x})[0]
        assert np.allclose(answer, answers[title], atol=1e-4)
moved = answers["middle_plain"] * scale[:5, None] + shift[:5, None]
np.savez("answers.npz", moved=moved, **answers)
PYTHON
cat > run.py <<'PYTHON'
import MNN.expr as F
import MNN.nn
import numpy as np

answers = dict(np.load("answers.npz"))
x, moved = answers.pop("x"), answers.pop("moved")
seen = {}
for title, exact in answers.items():
    net = MNN.nn.load_module_from_file(title + ".mnn", ["x"], ["y"])
    y = np.array(net.forward([F.const(x, list(x.shape), F.NCHW)])[0].read()).reshape(exact.shape)
    told = "right" if np.allclose(y, exact, atol=1e-3) else "wrong"
    seen[title] = "scaled along the middle axis" if np.allclose(y, moved, atol=1e-3) else told
    print(f"{title}: {seen[title]}, off by {abs(y - exact).max():.2g}")
assert seen.pop("middle_affine") == "scaled along the middle axis", "this has changed"
assert set(seen.values()) == {"right"}
PYTHON
"$work/onnx/bin/python" -W ignore make.py
for model in *.onnx; do
    "$work/mnn/bin/python" -c 'import sys, _tools; _tools.mnnconvert(sys.argv)' -f ONNX --modelFile "$model" \
        --MNNModel "${model%.onnx}.mnn" --bizCode norm --keepInputFormat > log 2>&1 || { cat log; exit 1; }
done
"$work/mnn/bin/python" -W ignore run.py
