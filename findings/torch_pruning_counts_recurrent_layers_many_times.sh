#!/usr/bin/env bash
# torch-pruning 1.6.1, torch 2.13.0 (CPU): count_ops_and_params, which tells what pruning saved, on one layer at a time.
# Guess: multiply-adds within a few per cent of those counted by hand: each weight of a recurrent layer once for every
# step, of a transposed convolution once for every input position.
# Seen: linear layers and convolutions are right. LSTM, GRU and RNN are counted about as many times over as the hidden
# state and the input are wide (35 times for 32 inputs and 16 units, 66 for 64 and 64), a transposed
# convolution with stride 2 four times (every output position is given the whole kernel), and a product by
# torch.nn.functional.linear not at all. Shares of a network that these layers are in mean nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch-pruning==1.6.1
"$work/env/bin/python" -W ignore - <<'PYTHON'
import torch
import torch_pruning
from torch import nn

class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 32))

    def forward(self, x):
        return nn.functional.linear(x, self.weight)

def weights(layer):
    return sum(p.numel() for name, p in layer.named_parameters() if "weight" in name)

steps, sequence, wide, image = 10, torch.randn(1, 10, 32), torch.randn(1, 10, 64), torch.randn(1, 16, 8, 8)
cases = {  # the layer, an input, how often each weight multiplies
    "Linear": (nn.Linear(32, 16), sequence, steps),
    "Conv2d": (nn.Conv2d(16, 8, 3, padding=1), image, 64),
    "LSTM(32, 16)": (nn.LSTM(32, 16, batch_first=True), sequence, steps),
    "GRU(32, 16)": (nn.GRU(32, 16, batch_first=True), sequence, steps),
    "RNN(32, 16)": (nn.RNN(32, 16, batch_first=True), sequence, steps),
    "LSTM(64, 64)": (nn.LSTM(64, 64, batch_first=True), wide, steps),
    "ConvTranspose2d": (nn.ConvTranspose2d(16, 8, 2, stride=2), image, 64),
    "functional.linear": (Functional(), sequence, steps),
}
ratio = {}
for name, (layer, x, times) in cases.items():
    counted, _ = torch_pruning.utils.count_ops_and_params(nn.Sequential(layer), x)
    by_hand = weights(layer) * times
    ratio[name] = counted / by_hand
    print(f"{name}: by hand {by_hand}, counted {counted:.0f}, {ratio[name]:.2f} times")
assert all(0.95 < ratio[name] < 1.05 for name in ("Linear", "Conv2d"))
assert all(ratio[name] > 30 for name in ratio if "(32, 16)" in name), "this has changed"
assert ratio["LSTM(64, 64)"] > 60 and 3.9 < ratio["ConvTranspose2d"] < 4.1, "this has changed"
assert ratio["functional.linear"] == 0, "this has changed"
PYTHON
