"""The same answers from any executor; arrays travel once, and lost work is done again."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import types
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import numpy as np
import pytest

import nettrim
from nettrim.demo import load_digits
from nettrim.layer.blocks import workers
from nettrim.layer.data import LayerData
from support import problems

spawn = multiprocessing.get_context("spawn")
WIDTH = 15  # two blocks of the layer


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=spawn) as executor:
        yield executor


@pytest.fixture(scope="module")
def loky():
    executor = pytest.importorskip("loky").get_reusable_executor(2)
    yield executor
    executor.shutdown()


@pytest.fixture(scope="module")
def dask():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def layer():
    return problems.g5().at(0.1)


@pytest.fixture
def expected(layer):
    return layer.solve(block_outputs=WIDTH, n_threads=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where arrays are written."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


class Watched(Executor):
    """Hands tasks on to another executor and remembers how large they were."""

    def __init__(self, inner):
        self.inner = inner
        self.max_workers = workers.count_workers(inner)
        self.sizes = []

    def submit(self, fn, /, *args, **kwargs):
        self.sizes.append(len(pickle.dumps((fn, args, kwargs))))
        return self.inner.submit(fn, *args, **kwargs)


class Here(Executor):
    """Does work at once, after sending it through pickle as to another process."""

    max_workers = 2

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        fn, args, kwargs = pickle.loads(pickle.dumps((fn, args, kwargs)))
        future.set_result(pickle.loads(pickle.dumps(fn(*args, **kwargs))))
        return future


# --- the same answer everywhere ---------------------------------------------------------------------


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
    penalised = problems.g5().penalised(3.0)
    assert penalised.solve(executor=processes).objective == pytest.approx(
        penalised.solve().objective, rel=2e-6
    )
    few = layer.solve(executor=processes, max_iter=30)
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


# --- what travels -----------------------------------------------------------------------------------


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
        workers._Name(f"test {k}", "/nowhere", ["X", "Y"], {}) for k in range(2 * workers.MOST_KEPT)
    ]
    try:
        for name in names:
            assert workers._arrays(name, data) is data
        assert len(workers._kept) <= workers.MOST_KEPT
        assert workers._arrays(names[-1], None) is data
        assert workers._arrays(names[0], None) is None
    finally:
        for name in names:
            workers._kept.pop(name.key, None)


# --- what goes wrong --------------------------------------------------------------------------------


class Fatal(Watched):
    """Kills the worker that gets the n-th task."""

    def __init__(self, inner, at):
        super().__init__(inner)
        self.at = at

    def submit(self, fn, /, *args, **kwargs):
        future = super().submit(fn, *args, **kwargs)
        if len(self.sizes) != self.at:
            return future
        future.cancel()
        return self.inner.submit(die)


def die():
    os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


@pytest.mark.parametrize("at", [2, 5])
def test_a_killed_worker_changes_nothing_but_the_place(at, layer, expected):
    with ProcessPoolExecutor(2, mp_context=spawn) as executor:
        fatal = Fatal(executor, at)
        with pytest.warns(RuntimeWarning, match=r"^executor: a worker died .* in this process"):
            answer = layer.solve(executor=fatal)
        with pytest.raises(BrokenExecutor):
            executor.submit(int)
        with pytest.warns(RuntimeWarning, match=r"^executor: a worker died"):
            again = layer.solve(executor=executor)  # broken from the beginning
    for one in (answer, again):
        assert np.array_equal(one.weights, expected.weights)
        assert np.array_equal(one.dual, expected.dual)


def test_a_killed_worker_of_a_network(digits):
    died = pytest.warns(RuntimeWarning, match=r"^executor: a worker died")
    with ProcessPoolExecutor(2, mp_context=spawn) as executor, died:
        result = trim(digits, scheme="parallel", executor=Fatal(executor, 2))
    assert_same_network(result, trim(digits, scheme="parallel", n_threads=1))


@pytest.mark.parametrize("error", [pickle.PicklingError("no"), TypeError("cannot pickle 'x'")])
def test_an_executor_that_cannot_send(error, layer):
    class Stubborn(Executor):
        def submit(self, fn, /, *args, **kwargs):
            if isinstance(error, TypeError):
                raise error
            future = Future()
            future.set_exception(error)
            return future

    with pytest.raises(TypeError, match=r"^executor cannot send a task to its workers: "):
        layer.solve(executor=Stubborn(), block_outputs=WIDTH)


def test_no_executor(layer, digits):
    with pytest.raises(
        TypeError, match=r"^executor must be a concurrent.futures.Executor, got int"
    ):
        layer.solve(executor=2)
    with pytest.raises(
        TypeError, match=r"^executor must be a concurrent.futures.Executor, got list"
    ):
        trim(digits, executor=[])
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    with pytest.raises(ValueError, match=r"^executor takes no tasks: .*shutdown"):
        layer.solve(executor=closed)


def test_an_error_of_a_worker_is_raised_here(layer):
    class Careless(Here):
        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            future.set_exception(MemoryError("there"))
            return future

    with pytest.raises(MemoryError, match="there"):
        layer.solve(executor=Careless())


def test_forked_processes_have_one_thread(layer):
    try:
        fork = multiprocessing.get_context("fork")
    except ValueError:
        pytest.skip("this system does not fork")
    refused = pytest.raises(ValueError, match=r"^n_threads must be 1 in forked processes, got 2")
    with ProcessPoolExecutor(2, mp_context=fork) as executor, refused:
        layer.solve(executor=executor, n_threads=2)


class Interrupting(Here):
    """Ctrl-C while the n-th task is handed over."""

    def __init__(self, at):
        self.at = at
        self.count = 0

    def submit(self, fn, /, *args, **kwargs):
        self.count += 1
        if self.count == self.at:
            raise KeyboardInterrupt
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize(("at", "width"), [(1, WIDTH), (4, WIDTH), (5, WIDTH), (7, WIDTH), (1, 30)])
def test_an_interrupt_leaves_the_best_answer(at, width, layer, folder):
    stopped = layer.solve(executor=Interrupting(at), block_outputs=width)
    optimum = layer.solve().objective
    assert stopped.status == "interrupted"
    assert stopped.weights.shape == layer.weights.shape
    assert stopped.dual_bound <= optimum * (1 + 1e-6)
    if at >= 5:  # the first penalty was answered
        assert stopped.dual_bound > 0.5 * optimum
    assert not any(folder.iterdir())


def test_an_interrupt_cancels_what_has_not_begun(layer):
    class Slow(Executor):
        max_workers = 3

        def __init__(self):
            self.futures = []

        def submit(self, fn, /, *args, **kwargs):
            if len(self.futures) == 2:
                raise KeyboardInterrupt
            self.futures.append(Future())
            return self.futures[-1]

    slow = Slow()
    assert layer.solve(executor=slow).status == "interrupted"
    assert all(future.cancelled() for future in slow.futures)


def test_ctrl_c_in_a_real_run():
    """A signal while processes work: an answer at once, and nothing left behind."""
    code = """
        import multiprocessing, os, signal, threading
        from concurrent.futures import ProcessPoolExecutor
        import nettrim, problems

        if __name__ == "__main__":
            layer = problems.g5().at(0.05)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as executor:
                executor.submit(int).result()
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
                answer = layer.solve(
                    executor=executor, tol=1e-15, time_limit=3, max_iter=10**9, solver="admm"
                )
            print(answer.status)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["interrupted"], done.stderr


# --- networks ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def trim(digits, **options):
    X = digits.X[:400]
    return nettrim.trim(digits.network, X, **{"epsilon": 0.1, "progress": False, **options})


def assert_same_network(one, other):
    for a, b in zip(one.layers, other.layers, strict=True):
        assert_same_layer(a, b)


def assert_same_layer(one, other):
    assert (one.status, other.status) == ("optimal", "optimal")
    assert one.l1_after == pytest.approx(other.l1_after, rel=2e-4)  # twice the tolerance
    assert one.nonzeros_after == pytest.approx(other.nonzeros_after, rel=0.02)


@pytest.mark.parametrize("kind", ["threads", "processes", "dask"])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_a_network_does_not_depend_on_the_executor(scheme, kind, request, digits):
    executor = request.getfixturevalue(kind)
    here = trim(digits, scheme=scheme)
    there = trim(digits, scheme=scheme, executor=executor)
    assert_same_network(here, there)


def test_layers_of_the_parallel_scheme_run_side_by_side(processes, digits):
    watched = Watched(processes)
    there = trim(digits, scheme="parallel", executor=watched)
    assert len(watched.sizes) == len(there.layers)  # one task each
    assert max(watched.sizes) < 5_000
    alone = trim(digits, scheme="parallel", n_threads=1)
    for a, b in zip(there.layers, alone.layers, strict=True):
        assert a.l1_after == b.l1_after  # the same solve, elsewhere


def test_few_layers_are_shared_out(digits):
    watched = Watched(Here())
    shared_out = trim(digits, scheme="parallel", layers=["dense1"], executor=watched)
    assert len(watched.sizes) >= 6  # rounds of two blocks
    assert_same_layer(shared_out.layers[0], trim(digits, scheme="parallel").layers[0])


def test_a_checkpoint_holds_with_and_without_an_executor(processes, digits, tmp_path):
    first = trim(digits, scheme="parallel", executor=processes, checkpoint=tmp_path / "run")
    watched = Watched(processes)
    second = trim(digits, scheme="parallel", executor=watched, checkpoint=tmp_path / "run")
    third = trim(digits, scheme="parallel", checkpoint=tmp_path / "run")
    assert not watched.sizes
    for a, b, c in zip(first.layers, second.layers, third.layers, strict=True):
        assert a.l1_after == b.l1_after == c.l1_after


def test_an_interrupt_keeps_finished_layers(digits, monkeypatch):
    class OneOnly(Here):
        """Finishes the first task and no other."""

        futures: list[Future]

        def __init__(self):
            self.futures = []

        def submit(self, fn, /, *args, **kwargs):
            first = super().submit(fn, *args, **kwargs) if not self.futures else Future()
            self.futures.append(first)
            return first

    def wait(futures, **options):
        if len(futures) < 3:
            raise KeyboardInterrupt
        return execution_wait(futures, **options)

    execution_wait, one_only = workers.wait, OneOnly()
    monkeypatch.setattr(workers, "wait", wait)
    result = trim(digits, scheme="parallel", executor=one_only)
    assert result.interrupted
    assert [layer.status == "optimal" for layer in result.layers] == [True, False, False]
    assert result.layers[0].nonzeros_after < result.layers[0].nonzeros_before
    assert [future.cancelled() for future in one_only.futures] == [False, True, True]


# --- Ray --------------------------------------------------------------------------------------------


class FakeRay(types.ModuleType):
    """As much of Ray as the adapter uses: remote functions, stored objects, references."""

    class Ref:
        def __init__(self, value):
            self.value = value

        def future(self):
            future = Future()
            future.set_result(self.value)
            return future

    def __init__(self):
        super().__init__("ray")
        self.stored = []
        self.options = None

    def put(self, value):
        self.stored.append(value)
        return self.Ref(pickle.loads(pickle.dumps(value)))

    def cluster_resources(self):
        return {"CPU": 4.0}

    def remote(self, function=None, **options):
        if function is None:
            self.options = options
            return self.remote

        def run(*args, **kwargs):
            args = [a.value if isinstance(a, self.Ref) else a for a in args]
            function_, args, kwargs = pickle.loads(pickle.dumps((function, args, kwargs)))
            return self.Ref(function_(*args, **kwargs))

        return types.SimpleNamespace(remote=run)


def test_ray(monkeypatch, layer):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    with workers.RayExecutor(num_cpus=2) as executor:
        assert workers.count_workers(executor) == 2
        answer = layer.solve(executor=executor)
    assert ray.options == {"num_cpus": 2}
    assert answer.status == "optimal"
    assert answer.solver.endswith("2 blocks")
    assert not ray.stored  # the files were seen
    with pytest.raises(ValueError, match=r"^executor takes no tasks"):
        layer.solve(executor=executor)


def test_ray_stores_arrays_once(monkeypatch, layer, expected):
    class Blind(workers.RayExecutor):
        def submit(self, fn, /, name, sent, *args):
            if sent is None:
                workers._kept.pop(name.key, None)  # a worker that has not been served yet
            return super().submit(fn, name._replace(folder="/nowhere"), sent, *args)

    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    answer = layer.solve(executor=Blind(), block_outputs=WIDTH)
    assert np.array_equal(answer.weights, expected.weights)
    assert len(ray.stored) == 1


def test_ray_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"^RayExecutor needs Ray: pip install ray"):
        workers.RayExecutor()
