#!/usr/bin/env bash
# torch 2.13.0 (CPU), onnxscript 0.7.2, onnx 1.23.2, onnxruntime 1.32.0: functions that exist because the formula in
# their name overflows or cancels, exported by torch.onnx.export(dynamo=True) in float32.
# Guess: what is written is a stable form, as it is for softplus, logsumexp and log_softmax.
# Seen: it is the formula. logsigmoid becomes Log(Sigmoid(x)), -inf at -20 already, where onnxruntime's Sigmoid is zero,
# and with it binary_cross_entropy_with_logits is inf; logaddexp is Log(Exp(a) + Exp(b)), infinite at
# 100; expm1 and log1p are Exp(x) - 1 and Log(1 + x): 19 % off at 1e-7, and zero at 1e-9.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
"$work/env/bin/python" -W ignore - <<'PYTHON'
import contextlib
import io
import logging

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

logging.disable(logging.WARNING)

class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)

def exported(function, x):
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(Calls(function), (x,), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    nodes = [node.op_type for node in program.model_proto.graph.node]
    return nodes, session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]

wide, tiny = torch.tensor([-100.0, -20.0, 1.0, 100.0]), torch.tensor([1e-9, 1e-7])
cases = {
    "softplus": (F.softplus, wide),
    "logsumexp": (lambda x: torch.logsumexp(x, 0), wide),
    "log_softmax": (lambda x: F.log_softmax(x, 0), wide),
    "logsigmoid": (F.logsigmoid, wide),
    "binary_cross_entropy_with_logits": (
        lambda x: F.binary_cross_entropy_with_logits(x, torch.ones(4), reduction="none"), wide
    ),
    "logaddexp": (lambda x: torch.logaddexp(x, x), wide),
    "expm1": (torch.expm1, tiny),
    "log1p": (torch.log1p, tiny),
}
right = {}
for name, (function, x) in cases.items():
    nodes, seen = exported(function, x)
    exact = function(x).numpy()
    right[name] = np.allclose(seen, exact, rtol=1e-2, atol=0)
    print(f"{name}: {nodes}\n  torch {exact}, exported {seen}")
assert all(right[name] for name in ("softplus", "logsumexp", "log_softmax"))
for name in ("logsigmoid", "binary_cross_entropy_with_logits", "logaddexp", "expm1", "log1p"):
    assert not right[name], f"this has changed: {name} is right"
PYTHON
