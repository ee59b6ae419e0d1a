#!/usr/bin/env bash
# torch 2.13.0 (CPU): a Linear layer whose weight is a sparse CSR tensor.
# Guess: as it runs, and its state_dict saves and loads (weights_only=True), copy.deepcopy of it works too, and
# its zeros can be counted.
# Seen: the forward pass and the file work; copy.deepcopy raises "unsupported memory format option Preserve", and
# torch.count_nonzero is not implemented for the layout. A copy of the module needs to_dense() first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import copy
import torch

torch.manual_seed(0)
layer = torch.nn.Linear(6, 4)
layer.weight = torch.nn.Parameter(layer.weight.detach().to_sparse_csr())
print("runs:", tuple(layer(torch.randn(3, 6)).shape))
torch.save(layer.state_dict(), "layer.pt")
loaded = torch.load("layer.pt", weights_only=True)["weight"]
print("saved and loaded:", loaded.layout)
assert loaded.layout == torch.sparse_csr

def refusal(work):
    try:
        work()
    except (RuntimeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:70]}"
    raise AssertionError("this has changed: it works")

copied = refusal(lambda: copy.deepcopy(layer))
counted = refusal(lambda: torch.count_nonzero(layer.weight))
print("deepcopy:", copied)
print("count_nonzero:", counted)
assert "memory format" in copied and "count_nonzero" in counted, "this has changed"
PYTHON
