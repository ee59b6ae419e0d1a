#!/usr/bin/env bash
# torch 2.13.0 (CPU): torch.nn.utils.spectral_norm put on a layer and taken off again by remove_spectral_norm.
# Guess: what is left is an ordinary layer, whose own state_dict loads back into it.
# Seen: state_dict() has weight and bias, as of an ordinary layer, but load_state_dict() of exactly that raises
# "Missing key(s) in state_dict: weight_orig, weight_u, weight_v": the hook that loads the old names stays. The old
# weight_norm, taken off by remove_weight_norm, loads.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
from torch import nn
from torch.nn.utils import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm

layer = spectral_norm(nn.Linear(3, 3))
remove_spectral_norm(layer)
print("spectral_norm, keys:", sorted(layer.state_dict()))
assert sorted(layer.state_dict()) == ["bias", "weight"]
try:
    layer.load_state_dict(layer.state_dict())
except RuntimeError as error:
    print("load_state_dict:", " ".join(str(error).split())[:110])
    assert "Missing key(s)" in str(error) and "weight_orig" in str(error), "this has changed"
else:
    raise AssertionError("this has changed: it loads")
layer = weight_norm(nn.Linear(3, 3))
remove_weight_norm(layer)
print("weight_norm:", layer.load_state_dict(layer.state_dict()))
PYTHON
