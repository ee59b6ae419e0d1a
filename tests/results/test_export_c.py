"""Headers of C: compiled without a warning, they compute the same."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nettrim import (
    AveragePool,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Network,
    ReLU,
    Residual,
    TrimResult,
)
from nettrim.models.network import Layer
from nettrim.results.export.header import header
from support.exports import bias, sparse
from support.networks import Array, random_network

CC = shutil.which("cc")
needs_compiler = pytest.mark.skipif(CC is None, reason="needs a C compiler")
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
MAIN = """\
#include <stdio.h>
#include "network.h"

int main(void)
{
    static float input[NETTRIM_INPUTS], output[NETTRIM_OUTPUTS];
    while (fread(input, sizeof input, 1, stdin) == 1) {
        nettrim_predict(input, output);
        fwrite(output, sizeof output, 1, stdout);
    }
    return 0;
}
"""


def dense_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    hidden = Dense(sparse(rng, 784, 300, share=0.1), bias(rng, 300))
    middle = Dense(sparse(rng, 300, 100), bias(rng, 100))
    return [hidden, middle, Dense(sparse(rng, 100, 10), bias(rng, 10), "linear")], (784,)


def image_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    layers = [
        Conv2D(sparse(rng, 6, 2, 3, 5), bias(rng, 6), padding=((1, 0), (2, 1)), stride=(2, 1)),
        BatchNorm(*np.abs(bias(rng, 24)).reshape(4, 6)),
        Conv2D(sparse(rng, 9, 2, 3, 3), groups=3, dilation=(1, 2), activation="linear"),
        ReLU(),
        MaxPool(3, stride=2, padding=1),
        AveragePool((2, 3), stride=1, padding=((1, 0), (1, 1))),
        Flatten(),
        Dense(sparse(rng, 72, 4), bias(rng, 4), "linear"),
    ]
    return layers, (2, 11, 12)


def signal_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    layers = [
        Conv1D(sparse(rng, 4, 3, 4), bias(rng, 4), padding="same", stride=2),
        Conv1D(rng.random((4, 1, 3)), bias(rng, 4), groups=4, dilation=2, padding=2),
        MaxPool((2,)),
        AveragePool((3,), 1, padding=1),
        GlobalAveragePool(),
        Dense(sparse(rng, 4, 3, share=0.8), activation="linear"),
    ]
    return layers, (3, 27)


def residual_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    """Sections in sections, shortcuts that change the signal, and a section right at the input."""
    inner = Residual(
        [Conv2D(sparse(rng, 3, 3, 1, 1))], [BatchNorm(*np.abs(bias(rng, 12)).reshape(4, 3))]
    )
    layers = [
        Residual([ReLU()]),
        Residual(
            [Conv2D(sparse(rng, 3, 2, 3, 3), padding=1), inner], [Conv2D(sparse(rng, 3, 2, 1, 1))]
        ),
        Residual([inner, inner], [MaxPool(3, 1, 1)]),
        GlobalAveragePool(),
        Residual([Dense(sparse(rng, 3, 5)), Dense(sparse(rng, 5, 3), activation="linear")]),
    ]
    return layers, (2, 6, 7)


def sequence_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    """Dense layers take the last axis of whatever comes."""
    layers = [ReLU(), Conv1D(sparse(rng, 3, 2, 2)), Dense(sparse(rng, 5, 4), bias(rng, 4))]
    return [*layers, Flatten()], (2, 6)


def dead_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    """No weight at all, and float64 that floats have to do for."""
    return [Dense(np.zeros((3, 2)), [1.5, -1.0]), Dense(rng.standard_normal((2, 2)))], (3,)


def wide_chain(rng: np.random.Generator) -> tuple[list[Layer], tuple[int, ...]]:
    """More inputs than indices of two bytes can tell apart."""
    return [Dense(sparse(rng, 70_000, 2, share=0.001))], (70_000,)


CHAINS = [
    dense_chain,
    image_chain,
    signal_chain,
    residual_chain,
    sequence_chain,
    dead_chain,
    wide_chain,
]


def answers(folder: Path, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a compiled header answers, in one row for each sample."""
    (folder / "main.c").write_text(MAIN)
    subprocess.run([str(CC), *FLAGS, "main.c", "-o", "main"], cwd=folder, check=True)
    run = subprocess.run([folder / "main"], input=X.tobytes(), capture_output=True, check=True)
    return np.frombuffer(run.stdout, np.float32).reshape(len(X), -1)


def assert_close(found: NDArray[np.float32], expected: Array) -> None:
    """To a millionth of the norm."""
    norm = np.linalg.norm(expected)
    assert norm > 0
    assert np.linalg.norm(found - expected.reshape(found.shape)) <= 1e-6 * norm


@needs_compiler
@pytest.mark.parametrize("chain", CHAINS)
def test_compiled_headers_predict(
    rng: np.random.Generator,
    tmp_path: Path,
    chain: Callable[[np.random.Generator], tuple[list[Layer], tuple[int, ...]]],
) -> None:
    layers, shape = chain(rng)
    X = rng.standard_normal((6, *shape)).astype(np.float32)
    (tmp_path / "network.h").write_text(header(Network(layers), shape))
    assert_close(answers(tmp_path, X), Network(layers).predict(X))


@needs_compiler
def test_exported_headers_predict(
    result: TrimResult[Network], rng: np.random.Generator, tmp_path: Path
) -> None:
    result.export(tmp_path, formats=["header"])
    X = rng.standard_normal((6, 40)).astype(np.float32)
    assert_close(answers(tmp_path, X), result.model.predict(X))


def test_headers_hold_what_they_need(rng: np.random.Generator) -> None:
    layers, shape = dense_chain(rng)
    text = header(Network(layers), shape)
    assert re.findall(r"#include.*", text) == ["#include <stdint.h>"]
    assert "typedef uint16_t nettrim_index;" in text
    assert not re.search("malloc|nettrim_convolution|nettrim_window", text)
    assert "typedef uint32_t nettrim_index;" in header(Network(wide_chain(rng)[0]), (70_000,))
    sizes = [int(n) for n in re.findall(r"static float nettrim_scratch\d\[(\d+)\]", text)]
    assert sorted(sizes) == [100, 300]


def test_scratch_is_used_again(rng: np.random.Generator) -> None:
    """A chain needs two arrays, however long it is."""
    text = header(random_network(rng, *itertools.repeat(5, 10)), (5,))
    assert len(re.findall(r"static float", text)) == 2


class Twice(Layer):
    """A kind of layer of which nettrim knows nothing."""

    kind = "twice"

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        return 2.0

    def forward(self, X: Array) -> Array:
        return 2 * X

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(cls, arrays: Any) -> Twice:
        return cls()


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        ([Twice()], (3,), "header has no C for layers of kind 'twice'"),
        ([MaxPool((2, 2, 2))], (1, 4, 4, 4), "header has no C for windows of 3 axes"),
        ([Dense([[1e39]])], (1,), r"network has numbers beyond float: 1e\+39"),
        ([Conv2D(np.ones((1, 1, 3, 3)))], (1, 2, 2), r"input_shape \(1, 2, 2\) does not fit"),
    ],
)
def test_what_has_no_c_is_refused(layers: list[Layer], shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        header(Network(layers), shape)
