#!/usr/bin/env bash
# optimum-quanto 0.2.7, onnxruntime 1.32.0, torch 2.13.0 (CPU): weights of which 70 % are exactly zero, quantised.
# Guess: zero is one of the levels, as it is in every scheme with an integer zero point, so pruned weights stay pruned.
# Seen: quanto's qint8 and onnxruntime's default 4 bits keep all zeros; quanto's qint4 and qint2 and onnxruntime's HQQ
# keep not a single one. Their groups have a shift in floating point, and no level falls on zero: what was
# pruned comes out dense, with up to half a step in place of every zero.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check optimum-quanto==0.2.7 setuptools==84.2.1
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 onnx-ir==1.1.0
"$work/env/bin/python" -W ignore - <<'PYTHON'
import logging

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import matmul_nbits_quantizer as nbits
from optimum import quanto

logging.disable(logging.WARNING)
torch.manual_seed(0)
weight = torch.randn(256, 64) / 16
weight[torch.rand(weight.shape) < 0.7] = 0

def by_quanto(kind):
    module = torch.nn.Sequential(torch.nn.Linear(256, 64, bias=False))
    module[0].weight.data.copy_(weight.T)
    quanto.quantize(module, weights=getattr(quanto, kind))
    quanto.freeze(module)
    return module[0].weight.dequantize().detach().T.numpy()

def by_onnxruntime(config):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(weight.numpy(), "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    quantizer = nbits.MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    content = quantizer.model.model.SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(256, dtype=np.float32)})[0]

default = nbits.DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=False, accuracy_level=1)
stored = {kind: by_quanto(kind) for kind in ("qint8", "qint4", "qint2")}
stored |= {"default": by_onnxruntime(default), "HQQ": by_onnxruntime(nbits.HQQWeightOnlyQuantConfig(block_size=32))}
zero = weight.numpy() == 0
kept = {}
for name, values in stored.items():
    kept[name] = (values[zero] == 0).mean()
    error = abs(values - weight.numpy()).max()
    print(f"{name}: {kept[name]:.0%} of the zeros kept; largest error {error:.1e}")
assert kept["qint8"] == kept["default"] == 1, "this has changed"
assert kept["qint4"] == kept["qint2"] == kept["HQQ"] == 0, "this has changed"
PYTHON
