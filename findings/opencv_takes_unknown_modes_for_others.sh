#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 (cv2.dnn), onnx 1.23.2, onnxruntime 1.32.0: GridSample with mode=cubic, as warps and
# spatial transformers have it, and Resize with half_pixel_symmetric, antialias and keep_aspect_ratio_policy.
# Guess: a value of an attribute that OpenCV hasn't is refused, as a Resize with scales for some axes alone is; what
# is loaded is right.
# Seen: it is run as another. "cubic", so called since version 20 of the operators, is linear. Under its older name,
# "bicubic", a pixel doesn't count where it is one to two pixels away, where a cubic has it at about -0.1; nearer it
# has the weight of ONNX's cubic, as it has in Resize, which is right. half_pixel_symmetric, by which a doubled image is
# that of half_pixel, is asymmetric, a quarter of a pixel away. antialias=1 and keep_aspect_ratio_policy are left out,
# as OpenVINO leaves them out. Each output is exactly that of the other mode, and nothing is said.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import json

import cv2
import numpy as np
import onnx
import onnxruntime

rng = np.random.default_rng(0)
x = rng.standard_normal((1, 2, 6, 8)).astype(np.float32)
grid = rng.uniform(-0.9, 0.9, (1, 5, 4, 2)).astype(np.float32)
onnxruntime.set_default_logger_severity(3)

def both(node, version, **constants):
    made = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : {version}]>
    one (float[1,2,6,8] x) => (float[a,b,c,d] y) {{ y = {node} }}""")
    made.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(made, full_check=True)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made.SerializeToString(), np.uint8))
    net.setInput(x, "x")
    return net.forward(), onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]

def sampled(mode, version):
    return both(f'GridSample<mode = "{mode}">(x, grid)', version, grid=grid)

def resized(height, width, **options):
    told = "".join(f", {key} = {json.dumps(value)}" for key, value in options.items())
    return both(f'Resize<mode = "linear"{told}>(x, , , sizes)', 19, sizes=np.array([1, 2, height, width]))

def same(a, b):
    return a.shape == b.shape and np.allclose(a, b, atol=1e-4)

half = {"coordinate_transformation_mode": "half_pixel"}
asymmetric = {"coordinate_transformation_mode": "asymmetric"}
symmetric = {"coordinate_transformation_mode": "half_pixel_symmetric"}
cases = {
    "linear of version 20": (sampled("linear", 20), None),
    "cubic in Resize": (both('Resize<mode = "cubic">(x, , , s)', 19, s=np.array([1, 2, 9, 11])), None),
    "cubic of version 20": (sampled("cubic", 20), sampled("linear", 20)),
    "half_pixel_symmetric, doubled": (resized(12, 16, **symmetric), resized(12, 16, **asymmetric)),
    "antialias, halved twice": (resized(2, 2, antialias=1, **half), resized(2, 2, **half)),
    "keep_aspect_ratio_policy": (
        resized(12, 8, keep_aspect_ratio_policy="not_larger", **half),
        resized(12, 8, **half),
    ),
}
for name, ((answer, exact), other) in cases.items():
    shown = "right" if same(answer, exact) else f"shape {answer.shape[2:]}, {exact.shape[2:]} by onnxruntime"
    if not same(answer, exact) and answer.shape == exact.shape:
        shown = f"{abs(answer - exact).max():.2f} off"
    print(f"{name}: {shown}")
    if other is None:
        assert same(answer, exact)
        continue
    assert same(*other)  # the other mode is right
    assert same(answer, other[0]) and not same(answer, exact), "this has changed"
assert same(cases["half_pixel_symmetric, doubled"][0][1], resized(12, 16, **half)[1])

# one bright pixel, sampled at a distance of 0 to 2 pixels
x = np.zeros((1, 2, 6, 8), np.float32)
x[..., 3, 4] = 1
away = np.arange(9) / 4
grid = np.stack([2 * (4 + away) / 7 - 1, np.full(9, 0.2)], -1)[None, None].astype(np.float32)
answer, exact = (y[0, 0, 0] for y in both('GridSample<mode = "bicubic", align_corners = 1>(x, grid)', 16, grid=grid))
print("bicubic, by distance:", answer.round(2).tolist(), "for", exact.round(2).tolist())
assert np.allclose(answer[:5], exact[:5], atol=1e-5) and exact[5:8].max() < -0.03
assert not answer[5:].any(), "this has changed"
PYTHON
