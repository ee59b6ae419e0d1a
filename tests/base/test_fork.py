"""Threads in a process, then a forked child: the same answers, in one thread, no endless wait."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

THREADS_OF_TORCH = (
    "import torch; torch.set_num_threads(2); a = torch.ones(600, 600); (a @ a).relu_().sum(); "
)
LATE = """
import multiprocessing, sys
{torch}
def job(_):
    import nettrim, numpy as np
    X = np.random.default_rng(0).standard_normal((60, 8))
    return nettrim.solve_layer(X, X @ np.ones((8, 5)), epsilon=1.0, n_threads=2).status
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert pool.map_async(job, [0]).get(60) == ["optimal"]
assert "nettrim" not in sys.modules
"""


def run(program: str, patience: float = 180) -> None:
    """Run a program that must end well and in time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"no answer in {patience} s, after: {error.stdout!r}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_entry_point_works_in_a_child() -> None:
    """One process begins children in all ways, one after the other."""
    installed = [way for way in ("loky", "dask") if importlib.util.find_spec(way)]
    run(f"from support import forked; forked.main('fork', 'pool', *{installed})")


@pytest.mark.parametrize(
    ("ways", "order"), [("fork loader", "torch first"), ("fork", "torch last")]
)
def test_beside_torch_and_its_own_threads(ways: str, order: str) -> None:
    """Two copies of an OpenMP runtime, or one for both: whichever came first."""
    pytest.importorskip("torch")
    first, last = THREADS_OF_TORCH, "from support import forked; "
    imports = first + last if order == "torch first" else last + first
    run(f"{imports} forked.main(*{ways.split()})")


def test_a_child_that_is_the_first_to_load_the_core() -> None:
    """Its parent's threads are those of another library on the same OpenMP runtime."""
    pytest.importorskip("torch")
    run(LATE.format(torch=THREADS_OF_TORCH))


MODULE = """
import os, sys, numpy as np, torch, nettrim
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(2)
net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
X = np.random.default_rng(0).standard_normal((2000, 64))
def job():
    result = nettrim.trim(net, X, epsilon=0.3, layers=[1], tol=1e-2, progress=False, n_threads=2)
    return result.model[2].weight.detach().numpy()
expected = job()
child = os.fork()
if child == 0:
    os._exit(not np.allclose(job(), expected, rtol=1e-3, atol=1e-3))
sys.exit(os.waitpid(child, 0)[1] != 0)
"""


def test_modules_are_trimmed_in_a_child() -> None:
    pytest.importorskip("torch")
    run(MODULE)
