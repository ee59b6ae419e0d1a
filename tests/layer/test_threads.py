"""Threads change the time and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import nettrim
from support.problems import Program, describe, g1, g2, g5, random_program

PROGRAMS = [
    g1().at(0.1),
    g1("linear").at(0.1),
    g1().penalised(1.0),
    g2().at(0.1),
    g5().at(0.15),
    random_program(2, "negative").at(0.2),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=describe)
def test_one_and_two_threads_agree(program: Program) -> None:
    tol = 1e-6
    one, two = (program.solve(tol=tol, n_threads=n) for n in (1, 2))
    assert one.status == two.status == "optimal"
    assert two.objective == pytest.approx(one.objective, rel=2 * tol)
    # Each answer lies above the other's bound: the two certificates support one another.
    assert one.objective >= two.dual_bound * (1 - 2 * tol)
    assert two.objective >= one.dual_bound * (1 - 2 * tol)


def test_more_threads_than_samples() -> None:
    program = g2().at(0.3)
    many = program.solve(n_threads=32)
    assert many.status == "optimal"
    assert many.objective == pytest.approx(program.solve(n_threads=1).objective, rel=2e-6)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("program", PROGRAMS, ids=describe)
def test_two_equal_runs_have_equal_bits(program: Program, n_threads: int) -> None:
    first, second = (program.solve(max_iter=200, n_threads=n_threads) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert np.array_equal(first.dual, second.dual)
    assert first.dual_bound == second.dual_bound
    assert first.iterations == second.iterations


def endless(seconds: float = 1.0, **options) -> nettrim.LayerSolution:
    """A solve that cannot reach its tolerance and stops by the clock."""
    return (
        g5().at(0.05).solve(tol=1e-15, max_iter=10**9, time_limit=seconds, n_threads=1, **options)
    )


def test_other_python_threads_go_on_during_a_solve() -> None:
    """With the GIL held the main thread would wake up a few times, or only at the end."""
    worker = threading.Thread(target=endless)
    worker.start()
    ticks = 0
    while worker.is_alive():
        time.sleep(0.005)
        ticks += 1
    assert ticks >= 40


def test_concurrent_calls_do_not_disturb_one_another() -> None:
    expected = [program.solve(max_iter=300, n_threads=1) for program in PROGRAMS]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(p.solve, max_iter=300, n_threads=1) for p in PROGRAMS * 3]
        results = [job.result() for job in jobs]
    for alone, together in zip(expected * 3, results, strict=True):
        assert np.array_equal(alone.weights, together.weights)
        assert alone.dual_bound == together.dual_bound


INTERRUPTED = """
import os, signal, threading
import numpy as np
import nettrim
from support.problems import g1, g5
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
solution = g5().at(0.05).solve(tol=1e-15, max_iter=10**9, time_limit=20.0)
assert solution.status == "interrupted", solution.status
assert not solution.converged
assert solution.seconds < 10.0
assert np.isfinite(solution.weights).all()
assert g1().at(0.1).solve().status == "optimal"
"""


def test_control_c_returns_what_there_is() -> None:
    """SIGINT during a solve: the iterate comes back, flagged, and Python goes on."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
