"""A trained network and its data inside the package, trimmed before your eyes.

``digits.npz`` holds a ReLU network 64-100-60-10 and the handwritten digits of scikit-learn it was
trained on (first 1,200) and tested on (last 597). ``bench/networks/train_digits.py`` made it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..base.arrays import Array
from ..base.storage import read_npz
from ..models.layer_view import Affine
from ..models.network import Network
from ..results.trim_result import TrimResult
from ..trimming.trim import trim

DIGITS = Path(__file__).with_name("digits.npz")
MISSING = 'no picture: it needs matplotlib, pip install "nettrim[cli]"'


class Digits(NamedTuple):
    """The network and its samples in rows, pixels between 0 and 1."""

    network: Network
    X: Array
    labels: NDArray[np.uint8]
    X_test: Array
    labels_test: NDArray[np.uint8]


def load_digits() -> Digits:
    """Return the embedded network, its 1,200 training and its 597 test samples.

    Returns
    -------
    Digits
        A named tuple: ``network``, ``X`` of shape (1200, 64), ``labels``, ``X_test``,
        ``labels_test``.

    Examples
    --------
    >>> from nettrim.demo import load_digits
    >>> digits = load_digits()
    >>> digits.network.predict(digits.X).shape
    (1200, 10)
    """
    arrays = read_npz(DIGITS)
    n, X, labels = int(arrays["n_training"]), arrays["pictures"] / 16.0, arrays["digits"]
    return Digits(Network.load(DIGITS), X[:n], labels[:n], X[n:], labels[n:])


def run_demo(
    picture: str | os.PathLike[str] = "nettrim-demo.png",
    *,
    epsilon: float = 0.05,
    n_threads: int | None = None,
    progress: bool = True,
) -> dict[str, TrimResult[Network]]:
    """Trim the embedded network by both schemes, print what came out, and draw it.

    Parameters
    ----------
    picture : str or path-like, default "nettrim-demo.png"
        Where the weight patterns go. Without matplotlib a line says how to get it.
    epsilon : float, default 0.05
        Relative error allowed, see `nettrim.trim`.
    n_threads : int, optional
    progress : bool, default True

    Returns
    -------
    dict of str to TrimResult
        By scheme.
    """
    digits = load_digits()
    started = time.perf_counter()
    results = {
        scheme: trim(
            digits.network,
            digits.X,
            epsilon=epsilon,
            scheme=scheme,
            held_out=digits.X_test,
            n_threads=n_threads,
            progress=progress,
        )
        for scheme in ("parallel", "cascade")
    }
    seconds = time.perf_counter() - started
    print(_summarise(digits, results, epsilon, seconds))
    print(_draw(picture, digits.network, results))
    return results


def measure_accuracy(network: Network, X: Array, labels: NDArray[np.uint8]) -> float:
    """Return the share of samples whose largest output stands at the label."""
    return float((network.predict(X).argmax(axis=1) == labels).mean())


def prune_by_magnitude(network: Network, counts: Sequence[int]) -> Network:
    """Return the network with only the largest weights of each layer left, biases untouched."""
    weights = {}
    for position, (layer, count) in enumerate(zip(network.prunable_layers(), counts, strict=True)):
        sizes = np.abs(layer.affine.weights)
        keep = np.zeros(sizes.size, dtype=bool)
        keep[np.argsort(sizes, axis=None)[sizes.size - count :]] = True
        kept = np.where(keep.reshape(sizes.shape), layer.affine.weights, 0)
        weights[position] = Affine(kept, layer.affine.bias)
    return network.with_weights(weights)


def _summarise(
    digits: Digits, results: dict[str, TrimResult[Network]], epsilon: float, seconds: float
) -> str:
    sizes = [digits.X.shape[1], *(layer.shape[1] for layer in digits.network.prunable_layers())]
    head = (
        f"A ReLU network {'-'.join(map(str, sizes))} that reads handwritten digits, trimmed with "
        f"epsilon {epsilon:g}."
    )
    tables = [str(result) for result in results.values()]
    foot = (
        "error: measured change of a layer's output; unseen: the same on the test digits;\n"
        "bound: proved for the calibration samples; gap: proved distance from the optimum.\n"
        f"Both schemes together: {seconds:.1f} s."
    )
    return "\n\n".join([head, *tables, _compare_accuracies(digits, results), foot])


def _compare_accuracies(digits: Digits, results: dict[str, TrimResult[Network]]) -> str:
    """List test accuracies, beside those of the same counts chosen by magnitude."""
    layers = next(iter(results.values())).layers
    entries = [("original", digits.network, [layer.nonzeros_before for layer in layers])]
    for scheme, result in results.items():
        counts = [layer.nonzeros_after for layer in result.layers]
        entries.append((scheme, result.model, counts))
        entries.append(("  largest weights", prune_by_magnitude(digits.network, counts), counts))
    lines = [f"Accuracy on {len(digits.X_test)} test digits, nothing retrained"]
    for name, network, counts in entries:
        score = measure_accuracy(network, digits.X_test, digits.labels_test)
        lines.append(f"  {name:<18} {score:7.2%}  {sum(counts):>7,} weights")
    return "\n".join(lines)


def _draw(
    picture: str | os.PathLike[str], network: Network, results: dict[str, TrimResult[Network]]
) -> str:
    from ..results.plot import plot_weights

    versions = {"original": network.prunable_layers()}
    versions |= {scheme: result.model.prunable_layers() for scheme, result in results.items()}
    try:
        plot_weights(
            picture, versions, "Weights of the digits network: red positive, blue negative"
        )
    except ImportError:
        return MISSING
    return f"Weights before and after: {os.fspath(picture)}"
