"""Executors, one of each kind for all of these tests, and a layer and a network for them."""

from __future__ import annotations

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from nettrim.demo import load_digits
from support import problems
from support.executors import WIDTH

spawn = multiprocessing.get_context("spawn")


@pytest.fixture(scope="package")
def processes():
    with ProcessPoolExecutor(2, mp_context=spawn) as executor:
        yield executor


@pytest.fixture(scope="package")
def loky():
    executor = pytest.importorskip("loky").get_reusable_executor(2)
    yield executor
    executor.shutdown()


@pytest.fixture(scope="package")
def dask():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.fixture(scope="package")
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def layer():
    return problems.thirty_neurons().at(0.1)


@pytest.fixture
def expected(layer):
    return layer.solve(block_outputs=WIDTH, n_threads=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where arrays are written."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def digits():
    return load_digits()
