"""Work that is lost is done again; errors and interrupts arrive."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import numpy as np
import pytest

from support.executors import WIDTH, Here, Watched, assert_same_network, trim

spawn = multiprocessing.get_context("spawn")


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
        import nettrim
        from support import problems

        if __name__ == "__main__":
            layer = problems.thirty_neurons().at(0.05)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as executor:
                executor.submit(int).result()
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
                answer = layer.solve(
                    executor=executor, tol=1e-15, time_limit=1.5, max_iter=10**9, solver="admm"
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
