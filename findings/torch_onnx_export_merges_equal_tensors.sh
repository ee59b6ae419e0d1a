#!/usr/bin/env bash
# torch 2.13.0 (CPU), onnx 1.23.2, onnxscript 0.7.2: a module exported by torch.onnx.export, both exporters.
# Guess: every parameter and buffer of the module is an initializer of the graph under its own name, so that an
# editor of the file can change one layer and no other.
# Seen: tensors that happen to be equal are stored once. Of two linear layers with zero biases and a fresh batch
# normalisation the default exporter leaves the biases out and lets the normalisation read its bias as mean and
# its weight as variance; the older one makes the second layer's bias and the mean Identities of the first
# layer's bias. Who cuts or changes a "bias" by name changes statistics of another layer too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxscript==0.7.2
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import onnx
import torch
from torch import nn

layers = [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4)]
module = nn.Sequential(*layers).eval()
for k in (0, 2):
    nn.init.zeros_(module[k].bias)
names = {*module.state_dict()} - {"4.num_batches_tracked"}
for dynamo in (True, False):
    torch.onnx.export(module, (torch.ones(2, 4),), "module.onnx", dynamo=dynamo, verbose=False)
    graph = onnx.load("module.onnx").graph
    stored = {tensor.name for tensor in graph.initializer}
    (norm,) = (node for node in graph.node if node.op_type == "BatchNormalization")
    shared = [list(node.output) for node in graph.node if node.op_type == "Identity"]
    print("dynamo:", dynamo, "| stored:", sorted(stored), "| missing:", sorted(names - stored))
    print("  normalisation reads", list(norm.input)[1:], "| identities:", shared)
    assert names - stored, "this has changed: every tensor has its own initializer"
    if dynamo:
        assert norm.input[2] == norm.input[3], "this has changed: bias and mean are two tensors"
PYTHON
