#!/usr/bin/env bash
# torch 2.13.0 (CPU): torch.nn.utils.prune on the output projection of nn.MultiheadAttention, and a checkpoint of it.
# Guess: as with any pruned layer, the weight is made anew of weight_orig and weight_mask in every forward pass, so a
# loaded state_dict computes what the saved module computed.
# Seen: "All keys matched", and the module still computes with the weights it had before: attention reads
# out_proj.weight without calling out_proj, and the hook that makes it hangs on that call. A pruned nn.Linear is
# right. One call of out_proj by hand, or prune.remove, brings the loaded weights in; that out_proj.weight is
# weight_orig times weight_mask is what to check.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import torch
from torch import nn
from torch.nn.utils import prune

x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))

def pruned(seed, kind):
    torch.manual_seed(seed)
    module = nn.Linear(8, 8) if kind == "Linear" else nn.MultiheadAttention(8, 2, batch_first=True)
    prune.l1_unstructured(module if kind == "Linear" else module.out_proj, "weight", amount=0.5)
    return module.eval()

@torch.no_grad()
def compute(module):
    return module(x) if isinstance(module, nn.Linear) else module(x, x, x)[0]

def distance(loaded, saved):
    return float((compute(loaded) - compute(saved)).norm() / compute(saved).norm())

for kind in ("Linear", "MultiheadAttention"):
    saved, loaded = pruned(0, kind), pruned(1, kind)
    print(kind, loaded.load_state_dict(saved.state_dict()))
    seen = distance(loaded, saved)
    print(f"  off the saved module by {seen:.0%}")
    if kind == "Linear":
        assert seen < 1e-6
        continue
    projection = loaded.out_proj
    stale = not torch.equal(projection.weight, projection.weight_orig * projection.weight_mask)
    projection(x)
    after = distance(loaded, saved)
    print(f"  weight is not weight_orig * weight_mask: {stale}; after one call of out_proj: {after:.0%}")
    assert seen > 0.5 and stale and after < 1e-6, "this has changed"
PYTHON
