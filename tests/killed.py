"""Kills training runs at random moments behind a first checkpoint: they must end with equal bits.

python tests/killed.py [--rounds 40] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nettrim.parsimonious import ParsimoniousTrainer
from nettrim.parsimonious.identity import hash_model

EPOCHS = 40


def train(checkpoint: Path) -> str:
    """Train to the end, slowly enough to be killed; return the hash of the model."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    data = TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())
    net = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 3))
    loader = DataLoader(data, 32, shuffle=True, generator=torch.Generator().manual_seed(1))
    trainer = ParsimoniousTrainer(net, 1e-2)
    return hash_model(trainer.fit(loader, EPOCHS, checkpoint=checkpoint, progress=False).model)


def killed(checkpoint: Path, draw: random.Random) -> bool:
    """Start a run in a process of its own and kill it; whether it was still running."""
    run = subprocess.Popen(
        [sys.executable, __file__, "--train", str(checkpoint)], stdout=subprocess.DEVNULL
    )
    while not checkpoint.exists() and run.poll() is None:
        time.sleep(0.001)
    time.sleep(draw.random() * 0.3)
    running = run.poll() is None
    run.kill()
    run.wait()
    return running


def survives(folder: Path, rounds: int) -> bool:
    """Kill as many runs and begin them again; whether all ended alike, and some were under way."""
    draw = random.Random(0)
    whole = train(folder / "whole.pt")
    same = hit = 0
    for k in range(rounds):
        checkpoint = folder / f"{k}.pt"
        hit += killed(checkpoint, draw)
        same += train(checkpoint) == whole
        left = [name for name in os.listdir(folder) if name.startswith(f".{k}.pt")]
        print(
            f"round {k + 1}: same so far {same}, killed under way {hit}, left over {left}",
            flush=True,
        )
    return same == rounds and hit > 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--train", type=Path)
    options = parser.parse_args()
    if options.train:
        train(options.train)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        sys.exit(0 if survives(Path(folder), options.rounds) else 1)


if __name__ == "__main__":
    main()
