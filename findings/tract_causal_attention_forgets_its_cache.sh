#!/usr/bin/env bash
# tract 0.23.9, onnx 1.23.2, onnxruntime 1.32.0: ONNX's Attention operator with is_causal=1 that is given the keys and
# values of earlier tokens (past_key, past_value), as a language model decodes.
# Guess: a query sees every earlier token and itself, so decoding one token at a time gives what one pass over all of
# them gives; so the specification counts the mask from the end of the cache, and the cached form is what it is for.
# Seen: one pass is right, and the keys and values handed on are too. With a cache the mask is counted from its
# beginning: the first new token attends to the oldest token of the cache alone, whatever its query, so that each step
# of decoding puts out the first value.
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
from onnx import TensorProto, helper

heads, width, tokens = 2, 4, 6

def model(new, past):
    """Causal attention of new tokens over past ones and themselves."""
    def info(name, length):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, heads, length, width])
    inputs = [info(name, new) for name in "qkv"] + [info(name, past) for name in ("past_k", "past_v") if past]
    outputs = [info("y", new)] + [info(name, new + past) for name in ("all_k", "all_v") if past]
    names = ["q", "k", "v"] + (["", "past_k", "past_v"] if past else [])
    node = helper.make_node("Attention", names, [output.name for output in outputs], is_causal=1)
    graph = helper.make_graph([node], "attention", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.checker.check_model(made, full_check=True)
    return made

def onnxruntime_runs(made, arrays):
    session = onnxruntime.InferenceSession(made.SerializeToString())
    return session.run(None, {value.name: array for value, array in zip(session.get_inputs(), arrays)})

def tract_runs(made, arrays):
    onnx.save(made, "attention.onnx")
    return [y.to_numpy() for y in tract.onnx().load("attention.onnx").into_model().into_runnable().run(arrays)]

q, k, v = (np.random.default_rng(seed).standard_normal((1, heads, tokens, width)).astype("f") for seed in range(3))
exact = onnxruntime_runs(model(tokens, 0), [q, k, v])[0]
last = [np.ascontiguousarray(t[:, :, -1:]) for t in (q, k, v)] + [np.ascontiguousarray(t[:, :, :-1]) for t in (k, v)]
off = {}
for name, run in (("onnxruntime", onnxruntime_runs), ("tract", tract_runs)):
    whole = abs(run(model(tokens, 0), [q, k, v])[0] - exact).max()
    y, all_k, all_v = run(model(1, tokens - 1), last)
    assert np.array_equal(all_k, k) and np.array_equal(all_v, v)
    off[name] = abs(y[:, :, 0] - exact[:, :, -1]).max(), abs(y[:, :, 0] - v[:, :, 0]).max()
    print(f"{name}: {whole:.0e} off in one pass, {off[name][0]:.0e} off in the last token with a cache,")
    print(f"    which is {off[name][1]:.0e} from the first token's value")
    assert whole < 1e-5
assert off["onnxruntime"][0] < 1e-5
assert off["tract"][0] > 0.1 and off["tract"][1] < 1e-6, "this has changed"
PYTHON
