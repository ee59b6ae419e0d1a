"""Sparse files: CSR and bit masks lose nothing, and damaged ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from nettrim import BatchNorm, Conv2D, Dense, Flatten, MaxPool, Network, ReLU, Residual, TrimResult
from nettrim.base.storage import read_npz, write_npz
from nettrim.models.network.sparse_storage import pack, unpack
from support.exports import assert_equal_bits, bias, result_of, sparse
from support.networks import Array


@pytest.mark.parametrize("name", ["sparse.npz", "bitmask.npz"])
def test_networks_come_back_from_sparse_files(
    result: TrimResult[Network], tmp_path: Path, name: str
) -> None:
    result.export(tmp_path)
    assert_equal_bits(Network.load(tmp_path / name), result.model)


def test_every_kind_of_layer_comes_back(rng: np.random.Generator, tmp_path: Path) -> None:
    network = Network(
        [
            Conv2D(sparse(rng, 6, 2, 3, 3, share=0.1), padding="same", groups=1, dilation=2),
            BatchNorm(*rng.random((4, 6))),
            Residual([Conv2D(sparse(rng, 6, 6, 5, 5, share=0.05), padding=2)], [ReLU()]),
            MaxPool(2),
            Flatten(),
            Dense(rng.standard_normal((24, 3)), bias(rng, 3), "linear"),  # not sparse
        ]
    )
    X = rng.standard_normal((5, 2, 4, 4))
    for encoding in ("csr", "bitmask"):
        result_of(network).export(tmp_path)
        file = tmp_path / {"csr": "sparse.npz", "bitmask": "bitmask.npz"}[encoding]
        keys = read_npz(file).keys()
        assert f"2.body.0.weights@{encoding}.values" in keys
        assert "5.weights" in keys  # would be larger
        np.testing.assert_array_equal(Network.load(file).predict(X), network.predict(X))


floats = st.floats(-2, 2, width=32) | st.just(0.0)
shapes = hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=9)


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), shapes, elements=floats))
def test_packing_loses_nothing(array: Array) -> None:
    for encoding in ("csr", "bitmask"):
        packed = pack({"a": array, "b": np.arange(3), "c": ["x"]}, encoding)
        back = unpack({name: np.asarray(value) for name, value in packed.items()})
        np.testing.assert_array_equal(back["a"], array, strict=True)
        assert set(back) == {"a", "b", "c"}


def test_csr_is_what_scipy_takes(rng: np.random.Generator) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    array = sparse(rng, 30, 20, share=0.1)
    packed = pack({"W": array}, "csr")
    parts = (packed[f"W@csr.{part}"] for part in ("values", "columns", "starts"))
    made = scipy_sparse.csr_array(tuple(parts), shape=array.shape)
    np.testing.assert_array_equal(made.toarray(), array)


@pytest.mark.parametrize(("n", "kind"), [(256, np.uint8), (257, np.uint16), (65_537, np.uint32)])
def test_indices_are_as_small_as_they_can_be(n: int, kind: type) -> None:
    array = np.zeros((2, n))
    array[0, -1] = 1.0
    packed = pack({"W": array}, "csr")
    assert packed["W@csr.columns"].dtype == kind
    assert packed["W@csr.starts"].dtype == np.uint8
    np.testing.assert_array_equal(unpack(packed)["W"], array)


def test_dense_arrays_stay_as_they_are(rng: np.random.Generator) -> None:
    array = rng.standard_normal((10, 10))
    for encoding in ("csr", "bitmask"):
        assert pack({"W": array}, encoding).keys() == {"W"}


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        ("csr.columns", lambda a: a + 200),
        ("csr.values", lambda a: a[:-1]),
        ("csr.starts", lambda a: a[:-1]),
        ("csr.shape", lambda a: a[::-1] * 2),
        ("bitmask.bits", lambda a: a[:1]),
        ("bitmask.values", lambda a: a[:1]),
        ("bitmask.shape", None),
    ],
)
def test_damaged_files_are_refused(
    rng: np.random.Generator,
    tmp_path: Path,
    key: str,
    damage: Callable[[Array], Array] | None,
) -> None:
    network = Network([Dense(sparse(rng, 30, 20, share=0.1))])
    result_of(network).export(tmp_path)
    path = tmp_path / ("sparse.npz" if key.startswith("csr") else "bitmask.npz")
    arrays = read_npz(path)
    name = f"0.weights@{key}"
    whole = arrays.pop(name)
    if damage is not None:
        arrays[name] = damage(whole)
    write_npz(path, arrays)
    with pytest.raises(ValueError, match=r"does not hold a network: 0\.weights is no array in"):
        Network.load(path)
