#!/usr/bin/env bash
# jax2onnx 0.17.1, jax 0.10.2 (CPU), onnx 1.23.2, onnxruntime 1.32.0: functions of JAX for which ONNX has an operator of
# nearly the same name, exported by to_onnx.
# Guess: where the two differ, the difference is written out, or the export raises, as it does for a resize with
# antialiasing and for a scan in reverse.
# Seen: the plain operator is written, without a word. jax.nn.one_hot gives a row of zeros for the label -1, ONNX counts
# it from the end; lax.round takes halves away from zero, ONNX to the even number; jax.image.resize by nearest
# neighbours picks another row when it enlarges 4 to 7; lax.dynamic_slice moves a slice that would stick out back into
# the array, ONNX cuts it short, so that the output has another shape. Labels from 0 on, jnp.round, whole factors and
# slices inside are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    jax2onnx==0.17.1 jax==0.10.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import logging

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax2onnx import to_onnx

logging.disable(logging.WARNING)  # onnx-ir tells of types that it infers
onnxruntime.set_default_logger_severity(3)
halves = np.array([0.5, 1.5, 2.5, -2.5], np.float32)
column = np.arange(4, dtype=np.float32)[:, None]
place = np.array(0, np.int32)
cases = {
    "one_hot of 0, 1": (lambda x: jax.nn.one_hot(x, 3), np.array([0, 1], np.int32), True),
    "one_hot of 0, -1": (lambda x: jax.nn.one_hot(x, 3), np.array([0, -1], np.int32), False),
    "jnp.round": (jnp.round, halves, True),
    "lax.round": (jax.lax.round, halves, False),
    "resize 4 to 8": (lambda x: jax.image.resize(x, (8, 1), "nearest"), column, True),
    "resize 4 to 7": (lambda x: jax.image.resize(x, (7, 1), "nearest"), column, False),
    "dynamic_slice of 2 from 1": (lambda x: jax.lax.dynamic_slice(jnp.arange(4.0), (x + 1,), (2,)), place, True),
    "dynamic_slice of 2 from 3": (lambda x: jax.lax.dynamic_slice(jnp.arange(4.0), (x + 3,), (2,)), place, False),
}
for name, (function, x, same) in cases.items():
    exact = np.asarray(jax.jit(function)(x))
    exported = to_onnx(function, [jax.ShapeDtypeStruct(x.shape, x.dtype)])
    session = onnxruntime.InferenceSession(exported.SerializeToString())
    answer = session.run(None, {session.get_inputs()[0].name: x})[0]
    told = [np.round(y, 3).squeeze().tolist() for y in (exact, answer)]
    print(f"{name}: JAX {told[0]}, exported {told[1]}")
    assert np.array_equal(exact, answer) == same, "this has changed"
PYTHON
