"""Train the network of `nettrim demo` and write python/nettrim/demo/digits.npz.

    python -m bench.networks.train_digits [--output FILE]

Needs scikit-learn. The network is a ReLU MLP 64-100-60-10 on the handwritten digits that come with
scikit-learn: 1,797 pictures of 8 x 8 pixels with values 0 to 16. They are shuffled, because writers
come one after another; the last 597 are held out for testing. The file keeps the weights as float32
and the pictures as uint8.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from nettrim.base.storage import write_npz

N_TRAINING = 1200
OUTPUT = Path(__file__).parents[2] / "python" / "nettrim" / "demo" / "digits.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE")
    output = parser.parse_args().output

    pictures, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    pictures, digits = pictures[order].astype(np.uint8), digits[order].astype(np.uint8)
    mlp = train(pictures[:N_TRAINING] / 16.0, digits[:N_TRAINING])
    arrays = {"pictures": pictures, "digits": digits, "n_training": N_TRAINING}
    for k, (weights, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True), start=1):
        arrays |= {f"W{k}": weights.astype(np.float32), f"b{k}": bias.astype(np.float32)}
    write_npz(output, arrays)
    accuracy = mlp.score(pictures[N_TRAINING:] / 16.0, digits[N_TRAINING:])
    print(f"{output}: {output.stat().st_size / 1000:.0f} kB, test accuracy {accuracy:.4f}")


def train(X: np.ndarray, digits: np.ndarray) -> MLPClassifier:
    mlp = MLPClassifier((100, 60), alpha=0.3, batch_size=100, max_iter=200, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 epochs are enough
        return mlp.fit(X, digits)


if __name__ == "__main__":
    main()
