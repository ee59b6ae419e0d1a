#!/usr/bin/env bash
# onnxoptimizer 0.4.2, onnx 1.23.2, onnxruntime 1.32.0: two nodes that change a shape in a row, and a part of a Shape,
# through onnxoptimizer.optimize with its default passes.
# Guess: two become one where that is the same function: counted from the end, or relative to what stands before it,
# an axis means another thing in each of the two.
# Seen: that is not worked in. A zero in the second of two Reshapes, the size of the first one's output, reads the size
# of the first one's input: from 2 x 3 x 4 by way of 4 x 6, [-1, 0] makes 8 x 3 in place of 4 x 6. Two Squeezes of the
# last axis take another axis: 1 x 2 x 1 x 1 becomes 2 x 1 in place of 1 x 2. The first number of Shape(start=1) is the
# number of samples in place of that of channels. Nothing is said, and the results go on as other arrays. Without the
# zero, with axes counted from the front, and without start all are right; so is onnxruntime's own optimiser.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    onnxoptimizer==0.4.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import onnx
import onnxoptimizer
import onnxruntime

onnxruntime.set_default_logger_severity(3)

def ran(made, x, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    return onnxruntime.InferenceSession(made.SerializeToString(), options).run(None, {"x": x})[0]

block, thin = (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for shape in ((2, 3, 4), (1, 2, 1, 1)))
reshapes = "t = Reshape(x, a) y = Reshape(t, b)"
squeezes = "t = Squeeze(x, a) y = Squeeze(t, b)"
part = "t = Slice(s, a, b) y = Cast<to = 1>(t)"
cases = {  # input, nodes, rank of the output, a, b, what the output is or, of a Shape, says, what it is afterwards
    "Reshapes": (block, reshapes, 2, [4, 6], [-1, 8], (3, 8), (3, 8)),
    "Reshapes with a zero": (block, reshapes, 2, [4, 6], [-1, 0], (4, 6), (8, 3)),
    "Squeezes": (thin, squeezes, 2, [3], [2], (1, 2), (1, 2)),
    "Squeezes of -1": (thin, squeezes, 2, [-1], [-1], (1, 2), (2, 1)),
    "Shape": (block, "s = Shape(x) " + part, 1, [1], [2], 3, 3),
    "Shape with start": (block, "s = Shape<start = 1>(x) " + part, 1, [0], [1], 3, 2),
}
for name, (x, nodes, rank, a, b, right, wrong) in cases.items():
    sizes = ",".join("nm"[:rank])
    made = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
    two (float[{",".join(map(str, x.shape))}] x) => (float[{sizes}] y)
    <int64[{len(a)}] a = {{{",".join(map(str, a))}}}, int64[{len(b)}] b = {{{",".join(map(str, b))}}}> {{ {nodes} }}""")
    onnx.checker.check_model(made, full_check=True)
    levels = onnxruntime.GraphOptimizationLevel
    exact, inside = (ran(made, x, level) for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL))
    after = ran(onnxoptimizer.optimize(made), x, levels.ORT_DISABLE_ALL)
    before, after = (y.shape if rank == 2 else int(y[0]) for y in (exact, after))
    print(f"{name}: {before}, optimised {after}")
    assert before == right and np.array_equal(exact, inside)
    assert after == wrong, "this has changed"
PYTHON
