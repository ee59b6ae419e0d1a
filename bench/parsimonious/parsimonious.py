"""Networks that shed units while they train: what is left, what it saves, and how robust it is.

    python -m bench.parsimonious.parsimonious --data DIR [--cases ...] [--seeds 3] [--threads 1]
        [--output DIR]

LeNet-300-100 on MNIST from three start widths, LeNet-5 (20-50-500), and 300-100 with gates on the
inputs too: with a cost that follows from the number of weights, and with dropout of inputs, batch
normalisation and fine-tuning, at costs that weigh inputs against units; then residual networks of
3, 6 and 10 sections and dense ones of three widths on scikit-learn's digits, where a run takes
seconds. Settings are the same for all starts of a group (`CASES`). Data come as they are, divided
by the largest pixel; errors are those of the last epoch on the test images, no epoch is chosen.

`saved` is the share of the work of dense training that was saved, in operations of the layers
(those of the gates' estimates not counted); `seconds` and `dense seconds` are of the whole
training, and of as many epochs as the first one without gates took. `settled` is the epoch by which
nine tenths of all removals were done. Rows are written as they are finished:
parsimonious.{md,json}; parsimonious_epochs.json holds the course of every run, parsimonious.png its
seconds per epoch against the weights that were live.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn

from bench.common import data, machine
from bench.common.tables import RESULTS, Row, Table, replace
from nettrim.parsimonious import ComplexityCost, ParsimoniousResult, ParsimoniousTrainer
from nettrim.parsimonious.structure import INPUTS

KEYS = ("case", "start", "seed")
MNIST = {"lr": 0.1, "weight_decay": 1e-4, "update_every": 8, "samples": 64}
DIGITS = {"lr": 0.05, "weight_decay": 1e-3, "samples": 64}


class Batches:
    """Samples in a new random order every time."""

    def __init__(self, X: np.ndarray, y: np.ndarray, size: int) -> None:
        self.X, self.y = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
        self.size = size

    def __len__(self) -> int:
        return math.ceil(len(self.X) / self.size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in torch.randperm(len(self.X)).split(self.size):
            yield self.X[rows], self.y[rows]


class Block(nn.Module):
    """A residual section."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.rise, self.fall = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fall(self.rise(x).relu())


def mlp(*sizes: int) -> nn.Module:
    layers = [layer for n, m in itertools.pairwise(sizes) for layer in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def normalised(*sizes: int) -> nn.Module:
    """Dropout of a tenth of the inputs, and batch normalisation, which inference can fold away."""
    layers = [nn.Dropout(0.1)]
    for n, m in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(n, m), nn.BatchNorm1d(m), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(*sizes[-2:]))


def residual(sections: int) -> nn.Module:
    blocks = [Block(48, 32) for _ in range(sections)]
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), *blocks, nn.Linear(48, 10))


def lenet5(*widths: int) -> nn.Module:
    a, b, c = widths
    return nn.Sequential(
        *(nn.Conv2d(1, a, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(a, b, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * b, c), nn.ReLU(), nn.Linear(c, 10)),
    )


@dataclass(frozen=True)
class Case:
    """A group of starts under one setting."""

    starts: dict[str, Callable[[], nn.Module]]
    epochs: int
    unit_cost: Any
    options: dict[str, Any] = field(default_factory=dict)
    on: str = "mnist"
    fine_tune: int = 0


CASES = {
    "LeNet-300-100": Case(
        {
            f"{a}-{b}": lambda a=a, b=b: mlp(784, a, b, 10)
            for a, b in ((150, 50), (300, 100), (600, 200))
        },
        epochs=60,
        unit_cost=1e-3,
        options=MNIST,
    ),
    "LeNet-5": Case(
        {"20-50-500": lambda: lenet5(20, 50, 500)},
        epochs=30,
        unit_cost=1e-3,
        options=MNIST,
        on="images",
    ),
    "LeNet-300-100, inputs": Case(
        {"784-300-100": lambda: mlp(784, 300, 100, 10)},
        epochs=120,
        unit_cost=ComplexityCost(0.05, parameters=10_000),
        options={"inputs": True, **MNIST, "samples": 128, "lr": 0.15, "weight_decay": 6e-4},
    ),
    "LeNet-300-100, inputs, fine-tuned": Case(
        {"784-300-100": lambda: normalised(784, 300, 100, 10)},
        epochs=30,
        unit_cost={"inputs": 8e-4, "1": 1.1e-3, "4": 9e-4},
        options={
            "inputs": True,
            "lr": 0.1,
            "weight_decay": 3e-4,
            "fall": 0.1,
            "update_every": 16,
            "samples": 128,
        },
        fine_tune=60,
    ),
    "sections": Case(
        {f"{n} sections": lambda n=n: residual(n) for n in (3, 6, 10)},
        epochs=80,
        unit_cost=0.0,
        options={"section_cost": 0.03, **DIGITS},
        on="digits",
    ),
    "complexity": Case(
        {f"{n}-{n}": lambda n=n: mlp(64, n, n, 10) for n in (64, 128, 256)},
        epochs=100,
        unit_cost=ComplexityCost(0.1, parameters=1000),
        options={"warm_up": 0.2, **DIGITS},
        on="digits",
    ),
}


def initialise(model: nn.Module) -> None:
    """He's weights, biases of zero; sections that add nothing at first."""
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    for block in model.modules():
        if isinstance(block, Block):
            nn.init.zeros_(block.fall.weight)


def sources(options: argparse.Namespace) -> Callable[[str], tuple[Batches, Batches]]:
    """Training and test batches by name, read once."""

    @cache
    def read(name: str) -> tuple[Batches, Batches]:
        if name == "digits":
            X, y = load_digits(return_X_y=True)
            order = np.random.default_rng(0).permutation(len(X))
            train, test = (Batches(X[rows] / 16, y[rows], 64) for rows in np.split(order, [1257]))
            return train, test
        shape = (-1, 1, 28, 28) if name == "images" else (-1, 784)
        parts = {"train": 128, "t10k": 1000}
        found = {part: data.mnist(options.data, part) for part in parts}
        train, test = (Batches(X.reshape(shape), y, parts[part]) for part, (X, y) in found.items())
        return train, test

    return read


def dense_seconds(model: nn.Module, train: Batches, batches: int = 40) -> float:
    """An epoch of the same training without gates, from some of its batches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=1e-4)
    began = 0.0
    for k, (x, y) in enumerate(train):
        if k == 2:  # the first ones are slower
            began = time.perf_counter()
        if k == min(batches, len(train) - 1):
            break
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - began) / (k - 2) * len(train)


def run(case: Case, make: Callable[[], nn.Module], seed: int, read: Any) -> tuple[Row, list[Row]]:
    torch.manual_seed(seed)
    model = make()
    initialise(model)
    train, test = read(case.on)
    dense = dense_seconds(model, train)
    before = sum(p.numel() for p in model.parameters())
    trainer = ParsimoniousTrainer(model, case.unit_cost, seed=seed, **case.options)
    result = trainer.fit(
        train, case.epochs, fine_tune=case.fine_tune, validation=test, progress=False
    )
    last = result.history[-1]
    row = {
        "left": architecture(result),
        "error %": 100 * (1 - last.accuracy),
        "parameters": sum(p.numel() for p in model.parameters()),
        "of": before,
        "weights": int(result.size.parameters),
        "saved %": 100 * result.flops_saved,
        "settled": result.settled,
        "epochs": case.epochs,
        "fine-tuned": case.fine_tune,
        "undecided": result.undecided,
        "worth their cost %": 100 * result.certificate.share(),
        "seconds": sum(epoch.seconds for epoch in result.history),
        "dense seconds": dense * len(result.history),
    }
    course = [
        {"epoch": e.epoch, "weights": e.parameters, "seconds": e.seconds, "error": 1 - e.accuracy}
        for e in result.history
    ]
    return row, course


def architecture(result: ParsimoniousResult) -> str:
    widths = {name: count for name, count in result.widths.items() if name != INPUTS}
    inputs = [result.widths[INPUTS]] if INPUTS in result.widths else []
    if result.sections_before:
        return f"{result.sections} sections"
    return "-".join(map(str, [*inputs, *widths.values()]))


def draw(courses: list[Row], path: Path) -> None:
    """Seconds of every epoch against the weights live in it; in proportion on a straight line."""
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    labels = dict.fromkeys(
        (row["case"], row["start"]) for row in courses if row["case"].startswith("LeNet")
    )
    for k, (case, start) in enumerate(labels):
        runs = [row["course"] for row in courses if (row["case"], row["start"]) == (case, start)]
        weights = [epoch["weights"] for course in runs for epoch in course]
        seconds = [epoch["seconds"] for course in runs for epoch in course]
        axes.loglog(weights, seconds, ".", color=f"C{k}", alpha=0.5, label=f"{case}, {start}")
    axes.set(xlabel="weights at the end of the epoch", ylabel="seconds per epoch")
    axes.grid(which="both", color="0.92", zorder=0)
    if labels:
        figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    machine.use_threads(options.threads)
    torch.set_num_threads(options.threads)
    read = sources(options)
    header = {**machine.header(), "torch": torch.__version__}
    table = Table(options.output / "parsimonious", "Parsimonious training", KEYS, header)
    courses_path = options.output / "parsimonious_epochs.json"
    courses = json.loads(courses_path.read_text()) if courses_path.exists() else []
    for name, seed in itertools.product(options.cases, range(options.seeds)):
        for start, make in CASES[name].starts.items():
            about = dict(zip(KEYS, (name, start, seed), strict=True))
            if table.has(**about):
                continue
            row, course = run(CASES[name], make, seed, read)
            courses.append({**about, "course": course})
            replace(courses_path, json.dumps(courses) + "\n")
            table.add({**about, **row})
            draw(courses, options.output / "parsimonious.png")


if __name__ == "__main__":
    main()
