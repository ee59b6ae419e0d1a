"""Recompute what `nettrim trim` says of ONNX files: the command, the numbers by onnxruntime alone.

    python -m bench.networks.recompute [--data DIR] [--epsilon 0.05] [--sparsity 0.5] [--threads 2]

Two models, exported to files: a residual network with two outputs (a class and a projection),
trained for a moment on images of CIFAR-10 (with --data; on scikit-learn's digits without), and a
perceptron of scikit-learn, trained on digits. The command prints its table; then this script, which
asks nettrim for nothing, counts the zeros of the file that was written and runs both files with
onnxruntime as anyone would. Exit status 1 if a number of the table is not what comes out, or an
error is above its bound.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import nn

from bench.common.data import Array

PRINTED = 0.006  # relative: the table has three digits


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.down = nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.down(x))


class ResNet(nn.Module):
    """Three blocks, then the logits of ten classes and a projection onto four numbers."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)
        )
        self.logits = nn.Linear(4 * width, 10)
        self.projection = nn.Linear(4 * width, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.blocks(self.stem(x)).mean((2, 3))
        return self.logits(features), self.projection(features)


def images(folder: Path | None) -> tuple[Array, Array]:
    """Images in [0, 1] with their channels first, and labels."""
    if folder is None:
        digits = load_digits()
        return digits.images[:, None] / 16.0, digits.target
    with np.load(folder / "cifar10" / "cifar10_jpeg75_subset.npz") as file:
        X, labels = (file[name] for name in ("X_train", "y_train"))
    return X[:4000].transpose(0, 3, 1, 2) / 255.0, labels[:4000].ravel()


def residual_network(folder: Path | None, path: Path) -> Array:
    """Train it for a moment, export it, and return calibration data."""
    X, labels = images(folder)
    torch.manual_seed(0)
    net = ResNet(X.shape[1])
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    inputs, targets = torch.tensor(X, dtype=torch.float32), torch.tensor(labels.astype(np.int64))
    for _ in range(2):
        for rows in torch.randperm(len(inputs)).split(64):
            logits, projection = net(inputs[rows])
            goal = F.one_hot(targets[rows] % 4, 4).float()
            loss = F.cross_entropy(logits, targets[rows]) + F.mse_loss(projection, goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    names = {"input_names": ["image"], "output_names": ["logits", "projection"]}
    axes = {name: {0: "n"} for name in ("image", "logits", "projection")}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the exporter that needs no more packages
        torch.onnx.export(
            net.eval(), (inputs[:2],), str(path), dynamo=False, dynamic_axes=axes, **names
        )
    return X[:150]


def perceptron(path: Path) -> Array:
    """The same for a perceptron of scikit-learn."""
    import skl2onnx

    digits = load_digits()
    X = digits.data / 16.0
    net = MLPClassifier((100, 60), random_state=0, max_iter=60).fit(X[:1200], digits.target[:1200])
    kind = skl2onnx.common.data_types.FloatTensorType([None, X.shape[1]])
    options = {id(net): {"zipmap": False}}
    model = skl2onnx.convert_sklearn(net, initial_types=[("x", kind)], options=options)
    path.write_bytes(model.SerializeToString())
    return X[:1200]


def weights(path: Path) -> dict[str, Array]:
    """All floats of two or more dimensions that a file stores, rows of biases left out."""
    stored = map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer)
    names = [tensor.name for tensor in onnx.load(path).graph.initializer]
    pairs = zip(names, stored, strict=True)
    return {n: a for n, a in pairs if a.dtype.kind == "f" and np.prod(a.shape[:-1]) > 1 < a.ndim}


def outputs(path: Path, X: Array) -> dict[str, Array]:
    """What onnxruntime computes, by its own settings."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if "float" in output.type]
    values = session.run(names, {session.get_inputs()[0].name: X.astype(np.float32)})
    return dict(zip(names, (value.astype(np.float64) for value in values), strict=True))


def told(table: str) -> dict[str, float]:
    """The numbers of the table: the share of zeros, and error and bound of every output."""
    lines = table.splitlines()
    numbers = {"zeros": _percent(re.search(r"([\d.e-]+%) of (?:all|the) weights", lines[0])[1])}
    for line in lines:
        words = line.split()
        if words[1:2] == ["output"] or words[:1] == ["network"]:
            errors = [word for word in words if word.endswith("%")][-2:]
            numbers |= {
                f"{words[0]} error": _percent(errors[0]),
                f"{words[0]} bound": _percent(errors[1]),
            }
    return numbers


def _percent(text: str) -> float:
    return float(text.rstrip("%")) / 100


def check(name: str, original: Path, X: Array, goal: list[str], threads: int) -> bool:
    """Trim a file by the command and hold its table against the files."""
    folder = original.parent
    trimmed, samples = folder / "trimmed.onnx", folder / "X.npy"
    np.save(samples, X.astype(np.float32))
    command = ["trim", str(original), "-c", str(samples), "-o", str(trimmed), *goal, "-q"]
    command += ["--threads", str(threads), "--max-patches", "4000"]
    run = [sys.executable, "-m", "nettrim", *command]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    print(f"\n{name}: nettrim trim {' '.join(goal)}, exit status {done.returncode}")
    print(done.stdout, done.stderr, sep="")
    numbers = told(done.stdout)
    stored = weights(trimmed).values()
    found = {"zeros": 1 - sum(map(np.count_nonzero, stored)) / sum(array.size for array in stored)}
    before, after = outputs(original, X), outputs(trimmed, X)
    moved = {k: np.linalg.norm(after[k] - before[k]) / np.linalg.norm(before[k]) for k in before}
    found |= {f"{k} error": float(error) for k, error in moved.items() if f"{k} error" in numbers}
    together = float(np.sqrt(np.mean([error**2 for error in moved.values()])))
    if len(moved) > 1 or "network error" in numbers:
        found["network error"] = together
    right = True
    for key, value in found.items():
        rounded = 5.1e-4 if key == "zeros" else PRINTED * value + 5e-5
        same = abs(numbers[key] - value) <= rounded
        bound = numbers.get(key.replace("error", "bound"), np.inf) if "error" in key else np.inf
        holds = value <= bound * (1 + PRINTED)
        right &= same and holds
        print(
            f"  {key}: table {numbers[key]:.4%}, recomputed {value:.4%}, "
            f"{'same' if same else 'NOT THE SAME'}",
            end="",
        )
        print(f", bound {bound:.4%} {'holds' if holds else 'BROKEN'}" if np.isfinite(bound) else "")
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epsilon", default="0.05")
    parser.add_argument("--sparsity", default="0.5")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    right = True
    for goal in (["-e", options.epsilon], ["--sparsity", options.sparsity]):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            X = residual_network(options.data, path)
            right &= check("residual network", path, X, goal, options.threads)
            X = perceptron(path)
            right &= check("scikit-learn perceptron", path, X, goal, options.threads)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
