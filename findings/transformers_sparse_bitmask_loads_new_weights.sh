#!/usr/bin/env bash
# transformers 5.24.0 with compressed-tensors 0.20.1, torch 2.13.0 (CPU): a model whose weights lie in the layout
# "sparse-bitmask", which compressed-tensors has a name and a configuration for.
# Guess: from_pretrained reads it, or raises an error that names the layout.
# Seen: there is no compressor for it (nor for "sparse-24-bitmask") under these names any more, and from_pretrained
# does not raise: it returns a model whose sparse weights are newly initialised, without a zero. The load report tells
# MISSING and UNEXPECTED keys, nothing of the layout.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
  transformers==5.24.0 compressed-tensors==0.20.1 safetensors==0.8.0
cd "$work"
HF_HUB_OFFLINE=1 "$work/env/bin/python" -W ignore - <<'PYTHON'
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.config import BitmaskConfig, CompressionFormat, Sparse24BitMaskConfig
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
print("transformers", version("transformers"), "compressed-tensors", version("compressed-tensors"))
layouts = [BitmaskConfig().format, Sparse24BitMaskConfig().format]
print("layouts:", [CompressionFormat(layout).value for layout in layouts])
there = BaseCompressor.registered_names()
print("compressors:", there)
assert not set(layouts) & set(there), "this has changed: there is a compressor"

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=16, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=2,
)
folder = Path("model")
LlamaForCausalLM(config).save_pretrained(folder)
tensors, name = load_file(folder / "model.safetensors"), "model.layers.0.mlp.up_proj.weight"
weight = tensors.pop(name)
weight[:, ::2] = 0
mask = weight != 0
tensors[f"{name}.compressed"] = weight[mask]
tensors[f"{name}.bitmask"] = torch.from_numpy(np.packbits(mask.numpy(), axis=1, bitorder="little"))
tensors[f"{name}.shape"] = torch.tensor(weight.shape)
tensors[f"{name}.row_offsets"] = torch.cumsum(mask.sum(1), 0) - mask.sum(1)
save_file(tensors, folder / "model.safetensors", {"format": "pt"})
written = json.loads((folder / "config.json").read_text())
written["quantization_config"] = {
    "quant_method": "compressed-tensors",
    "format": "dense",
    "sparsity_config": BitmaskConfig(global_sparsity=0.5, targets=["Linear"], ignore=[]).model_dump(),
}
(folder / "config.json").write_text(json.dumps(written))
loaded = LlamaForCausalLM.from_pretrained(folder).state_dict()[name]
zeros = [f"{float((one == 0).float().mean()):.0%}" for one in (weight, loaded)]
print("loaded without an error; zeros as saved and as loaded:", zeros)
assert zeros == ["50%", "0%"], "this has changed"
PYTHON
