#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2, ml_dtypes 0.6.0: Cast and QuantizeLinear to the four float8 formats, with saturate=1
# and with saturate=0, where what is too large is to become NaN, or infinity in the one format that has it, so that an
# overflow is seen.
# Guess: the three agree to the last bit at every number; only NaN and infinity of the formats differ, as they should.
# Seen: with saturate=1, and for the two FNUZ formats, they do. With saturate=0 onnxruntime turns 480 up to 496 into 448
# for E4M3FN, so that an overflow passes for the largest number, while 465 and 497 are NaN; for E5M2 61440 up to 65536
# becomes NaN, where it is infinity, as it is from 65536 on. onnx's evaluator and ml_dtypes have neither hole.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 ml_dtypes==0.6.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

rng = np.random.default_rng(0)
bits = rng.integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
near = [np.linspace(*ends, dtype=np.float32) for ends in ((200, 600, 6401), (50_000, 70_000, 4001))]
x = np.concatenate([bits[np.isfinite(bits)], *near, *(-part for part in near)])

def same(a, b):
    return (a == b) | (np.isnan(a) & np.isnan(b))

formats = {
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
}
holes = {
    (TensorProto.FLOAT8E4M3FN, 0): (abs(x) >= 480) & (abs(x) < 496),
    (TensorProto.FLOAT8E5M2, 0): (abs(x) >= 61440) & (abs(x) < 65536),
}
infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in "xy"]
back = helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)
for kind, dtype in formats.items():
    name = TensorProto.DataType.Name(kind)
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    zero = helper.make_tensor("zero", kind, [], [0.0])
    for saturate in (1, 0):
        exact = x.astype(dtype).astype(np.float32)
        if saturate:
            exact = np.where(np.isfinite(exact), exact, np.copysign(np.float32(ml_dtypes.finfo(dtype).max), x))
        hole = holes.get((kind, saturate), np.zeros(x.shape, bool))
        for node, constants in (
            (helper.make_node("Cast", ["x"], ["h"], to=kind, saturate=saturate), []),
            (helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["h"], saturate=saturate), [one, zero]),
        ):
            graph = helper.make_graph([node, back], "there_and_back", infos[:1], infos[1:], constants)
            made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
            onnx.checker.check_model(made, full_check=True)
            answer = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
            assert same(ReferenceEvaluator(made).run(None, {"x": x})[0], exact).all()
            wrong = ~same(answer, exact)
            if wrong.any():
                least = abs(x[wrong]).min()
                seen, right = answer[x == least][0], exact[x == least][0]
                print(f"{node.op_type} to {name}, saturate={saturate}, of {least:g}: {seen} in place of {right}")
            assert np.array_equal(wrong, hole), "this has changed"
PYTHON
