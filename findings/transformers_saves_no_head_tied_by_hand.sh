#!/usr/bin/env bash
# transformers 5.24.0, torch 2.13.0 (CPU): a model of untied embeddings (tie_word_embeddings=False) whose lm_head is
# given the embedding's Parameter by hand, through save_pretrained and from_pretrained.
# Guess: the shared tensor is written for both, or save_pretrained raises, as it does for two hidden layers that share
# theirs.
# Seen: save_pretrained says nothing and leaves the head out, with tie_word_embeddings still False in config.json;
# from_pretrained makes the head anew, of random numbers, MISSING in its load report. config.tie_word_embeddings =
# True before saving keeps it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$work/env/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0
cd "$work"
HF_HUB_OFFLINE=1 "$work/env/bin/python" -W ignore - <<'PYTHON'
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
config = LlamaConfig(
    vocab_size=16, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=False,
)
tokens = torch.arange(6)[None]

@torch.no_grad()
def round_trip(model, folder):
    model.save_pretrained(folder)
    again = LlamaForCausalLM.from_pretrained(folder)
    off = float((again(tokens).logits - model(tokens).logits).norm() / model(tokens).logits.norm())
    return off, "lm_head.weight" in load_file(f"{folder}/model.safetensors")

def tied(config):
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.lm_head.weight = model.model.embed_tokens.weight
    return model

off, stored = round_trip(tied(config), "tied")
print(f"head tied by hand: stored: {stored}, off by {off:.0%}")
assert not stored and off > 0.5, "this has changed"

told = tied(config)
told.config.tie_word_embeddings = True
off, _ = round_trip(told, "told")
print(f"and config.tie_word_embeddings = True: off by {off:.0%}")
assert off < 1e-6

shared = LlamaForCausalLM(config)
first, second = (layer.mlp.up_proj for layer in shared.model.layers)
second.weight = first.weight
try:
    shared.save_pretrained("shared")
except RuntimeError as error:
    print("two hidden layers that share a weight: RuntimeError:", str(error)[:60])
else:
    raise AssertionError("this has changed: it saves")
PYTHON
