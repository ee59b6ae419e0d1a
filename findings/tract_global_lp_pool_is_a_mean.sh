#!/usr/bin/env bash
# tract 0.23.9, onnx 1.23.2, onnxruntime 1.32.0: GlobalLpPool, the p-norm of each channel's image.
# Guess: the p-th root of the sum of |x|^p, as for ReduceL1 and ReduceL2 over the same pixels, which it equals.
# Seen: it is the p-th root of the mean of x^p, without absolute values. The default p=2 comes out smaller by the root
# of the number of pixels, 4.5 times for 4 x 5 of them; p=1 is the mean, with its sign; p=3 is NaN where the cubes'
# sum is negative. LpPool is refused; ReduceL1 and ReduceL2 are right.
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

x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)

def both(node):
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 17]>
    norms (float[2,3,4,5] x) => (float[2,3,1,1] y) {{ y = {node}(x) }}""")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "norms.onnx")
    by_tract = tract.onnx().load("norms.onnx").into_model().into_runnable().run([x])[0].to_numpy()
    return by_tract, onnxruntime.InferenceSession("norms.onnx").run(None, {"x": x})[0]

for p in (1, 2, 3):
    exact = (np.abs(x) ** p).sum((2, 3), keepdims=True) ** (1 / p)
    by_tract, by_onnxruntime = both(f"GlobalLpPool<p = {p}>")
    assert np.allclose(by_onnxruntime, exact, rtol=1e-5)
    print(f"p = {p}: {by_tract.ravel()[:3]} in place of {exact.ravel()[:3]}")
    mean = (x**p).mean((2, 3), keepdims=True) ** (1 / p)
    assert np.allclose(by_tract, mean, atol=1e-5, equal_nan=True), "this has changed"
    assert np.isnan(by_tract).any() == (p == 3), "this has changed"
    if p < 3:
        assert all(np.allclose(y, exact, rtol=1e-5) for y in both(f"ReduceL{p}<axes = [2, 3]>"))
PYTHON
