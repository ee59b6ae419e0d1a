"""The same answers from any executor; arrays travel once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import nettrim
from nettrim.layer.blocks import workers
from nettrim.layer.data import LayerData
from support import problems
from support.executors import WIDTH, Here, Watched

spawn = multiprocessing.get_context("spawn")


# --- the same answer everywhere -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["threads", "processes", "loky", "dask"])
def test_an_answer_does_not_depend_on_the_executor(kind, request, layer, expected):
    executor = request.getfixturevalue(kind)
    answer = layer.solve(executor=executor)  # a block for each of two workers
    assert expected.status == answer.status == "optimal"
    assert expected.objective == pytest.approx(layer.solve().objective, rel=2e-6)
    for name in ("weights", "dual"):
        assert np.array_equal(getattr(answer, name), getattr(expected, name))
    assert (answer.objective, answer.dual_bound, answer.iterations) == (
        expected.objective,
        expected.dual_bound,
        expected.iterations,
    )


def test_options_reach_the_workers(processes, layer):
    whole = layer.solve(n_threads=1)
    told = []
    answer = layer.solve(executor=processes, block_outputs=30, callback=told.append)
    assert np.array_equal(answer.weights, whole.weights)
    assert len(told) == 1
    assert told[0].gap == answer.gap
    penalised = problems.thirty_neurons().penalised(3.0)
    assert penalised.solve(executor=processes).objective == pytest.approx(
        penalised.solve().objective, rel=2e-6
    )
    few = layer.solve(executor=processes, max_iter=3)
    assert few.status == "max_iter"
    single = layer.solve(executor=processes, dtype=np.float32, tol=1e-4)
    assert single.weights.dtype == np.float32
    near = layer.solve(executor=processes, warm_start=whole)
    assert near.status == "optimal"


def test_groups_and_bounds_reach_the_workers(processes):
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((60, 4 * 5)), rng.standard_normal((5, 4))
    Z = np.einsum("ngf,fg->ng", X.reshape(60, 4, 5), W)
    active = Z > 0.1
    form = {
        "groups": 4,
        "active": active,
        "upper": problems.relu(Z) + 0.1,
        "epsilon": 0.2 * float(np.linalg.norm(Z[active])),
    }
    here = nettrim.solve_layer(X, Z, **form)
    there = nettrim.solve_layer(X, Z, executor=processes, **form)
    assert here.status == there.status == "optimal"
    assert np.array_equal(here.weights, there.weights)


# --- what travels ---------------------------------------------------------------------------------


def test_arrays_do_not_travel_with_tasks(processes, layer, folder):
    watched = Watched(processes)
    answer = layer.solve(executor=watched)
    assert answer.status == "optimal"
    assert len(watched.sizes) >= 6  # rounds of two tasks
    assert max(watched.sizes) < layer.X.nbytes / 5
    assert not any(folder.iterdir())  # and the files are gone


def test_workers_map_the_files(layer, folder):
    seen = []

    class Looking(Here):
        def submit(self, fn, /, *args, **kwargs):
            seen.append(sorted(path.name for path in folder.glob("*/*")))
            return super().submit(fn, *args, **kwargs)

    layer.solve(executor=Looking())
    assert seen[0] == ["X.npy", "Y.npy"]
    assert all(files == seen[0] for files in seen)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_worker_that_cannot_see_the_files_is_sent_the_arrays_once(n_workers, layer, expected):
    class Blind(Watched):
        """A machine that shares no folder with this one."""

        def submit(self, fn, /, name, sent, *args):
            return super().submit(fn, name._replace(folder="/nowhere"), sent, *args)

    with ProcessPoolExecutor(n_workers, mp_context=spawn) as executor:
        watched = Blind(executor)
        answer = layer.solve(executor=watched, block_outputs=WIDTH)
    large = sum(size > layer.X.nbytes for size in watched.sizes)
    assert np.array_equal(answer.weights, expected.weights)
    if n_workers == 1:
        assert large == 1
    else:
        assert 1 <= large <= 4  # both may ask twice before the other has been served
    assert len(watched.sizes) >= 5 + large


def test_a_worker_forgets_old_layers():
    data = LayerData.of(np.ones((3, 2)), np.ones((3, 1)), "relu", None, None, np.dtype(float))
    names = [
        workers._DataHandle(f"test {k}", "/nowhere", ["X", "Y"], LayerData, {})
        for k in range(2 * workers.MOST_CACHED)
    ]
    try:
        for name in names:
            assert workers._load_data(name, data) is data
        assert len(workers._cache) <= workers.MOST_CACHED
        assert workers._load_data(names[-1], None) is data
        assert workers._load_data(names[0], None) is None
    finally:
        for name in names:
            workers._cache.pop(name.key, None)
