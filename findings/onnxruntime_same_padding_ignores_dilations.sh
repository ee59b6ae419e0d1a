#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2: MaxPool, AveragePool and LpPool with auto_pad: SAME_UPPER or SAME_LOWER, and
# dilations, as ONNX has them for pooling since versions 10, 19 and 18.
# Guess: the output is as large as the input over the stride, rounded up, which is what SAME stands for and what onnx's
# shape inference writes into the file; a window spread by dilations is padded by as much as it spans.
# Seen: onnxruntime pads as if there were no dilations, and the window then doesn't fit: of 8 pixels 6 come out in
# place of 8, at stride 2 it's 3 in place of 4, moved against the right ones, and where the graph leaves the shape open
# nothing is said. The same padding written as pads gives the right size.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime

x = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)

def model(kind, dilation, stride, padding):
    made = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 22]>
    pool (float[1,1,8,8] x) => (float[a,b,c,d] y)
    {{ y = {kind}<kernel_shape = [3, 3], dilations = [{dilation}, {dilation}], strides = [{stride}, {stride}],
       {padding}>(x) }}""")
    onnx.checker.check_model(made, full_check=True)
    return made

def inferred(made):
    output = onnx.shape_inference.infer_shapes(made).graph.output[0]
    return tuple(size.dim_value for size in output.type.tensor_type.shape.dim)

def by_onnxruntime(made):
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]

onnxruntime.set_default_logger_severity(3)
for kind in ("MaxPool", "AveragePool", "LpPool"):
    for dilation, stride in ((1, 1), (1, 2), (2, 1), (2, 2)):
        for end in ("UPPER", "LOWER"):
            made = model(kind, dilation, stride, f'auto_pad = "SAME_{end}"')
            answer = by_onnxruntime(made)
            total = 2 * dilation + 1 - stride  # 8 is even, so that the last window begins a stride before its end
            first, last = sorted((total // 2, total - total // 2), reverse=end == "LOWER")
            exact = by_onnxruntime(model(kind, dilation, stride, f"pads = [{first}, {first}, {last}, {last}]"))
            assert exact.shape == inferred(made)
            sizes = f"{answer.shape[2:]} by onnxruntime, {exact.shape[2:]} inferred by onnx"
            print(f"{kind}, SAME_{end}, dilation {dilation}, stride {stride}: {sizes}")
            if dilation == 1:
                assert np.allclose(answer, exact, atol=1e-6)
            else:
                assert answer.shape[2:] == {1: (6, 6), 2: (3, 3)}[stride], "this has changed"
PYTHON
