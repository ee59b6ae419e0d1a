#!/usr/bin/env bash
# tract 0.23.9, onnx 1.23.2, onnxruntime 1.32.0: Pad with mode=reflect and mode=edge, and constant_value as an input,
# which counts "if the mode chosen is constant" by the specification; a generator of models that always names it
# writes valid ones.
# Guess: the mode is what decides: the number has no effect, or the node is refused.
# Seen: the number decides. Where it is given the padding is that number, 0 or any other, as if the mode were constant,
# at opset 12 as at 21, with axes and without; where it is left out both modes are right.
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

x = np.arange(1, 11, dtype=np.float32).reshape(2, 5)

def padded(mode, opset, number, axes):
    pads = "pads = Constant<value_ints = [2, 1]>()" if axes else "pads = Constant<value_ints = [0, 2, 0, 1]>()"
    inputs = ["x", "pads"]
    constants = [pads]
    if number is not None:
        constants.append(f"number = Constant<value_float = {number}>()")
        inputs.append("number")
    if axes:
        constants.append("axes = Constant<value_ints = [1]>()")
        inputs += [""] * (3 - len(inputs)) + ["axes"]
    body = "\n".join([*constants, f'y = Pad<mode = "{mode}">({", ".join(inputs)})'])
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : {opset}]>
    padding (float[2,5] x) => (float[2,8] y) {{ {body} }}""")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "padding.onnx")
    by_tract = tract.onnx().load("padding.onnx").into_model().into_runnable().run([x])[0].to_numpy()
    return by_tract, onnxruntime.InferenceSession("padding.onnx").run(None, {"x": x})[0]

for mode in ("constant", "reflect", "edge"):
    for opset, axes in ((12, False), (21, False), (21, True)):
        for number in (None, "0.0", "1.5"):
            by_tract, by_onnxruntime = padded(mode, opset, number, axes)
            how = {} if mode != "constant" else {"constant_values": float(number or 0)}
            assert np.array_equal(by_onnxruntime, np.pad(x, ((0, 0), (2, 1)), mode, **how))
            if mode == "constant" or number is None:
                assert np.array_equal(by_tract, by_onnxruntime)
            else:
                print(f"{mode}, opset {opset}, number {number}: {by_tract[0]} in place of {by_onnxruntime[0]}")
                constant = np.pad(x, ((0, 0), (2, 1)), constant_values=float(number))
                assert np.array_equal(by_tract, constant), "this has changed"
PYTHON
