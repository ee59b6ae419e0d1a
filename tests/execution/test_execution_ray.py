"""Ray as an executor, and what is said where it is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from nettrim import execution
from nettrim.layer.blocks import workers
from support.executors import WIDTH, FakeRay


def test_ray(monkeypatch, layer):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    with execution.RayExecutor(num_cpus=2) as executor:
        assert workers.count_workers(executor) == 2
        answer = layer.solve(executor=executor)
    assert ray.options == {"num_cpus": 2}
    assert answer.status == "optimal"
    assert answer.solver.endswith("2 blocks")
    assert not ray.stored  # the files were seen
    with pytest.raises(ValueError, match=r"^executor takes no tasks"):
        layer.solve(executor=executor)


def test_ray_stores_arrays_once(monkeypatch, layer, expected):
    class Blind(execution.RayExecutor):
        def submit(self, fn, /, name, sent, *args):
            if sent is None:
                workers._cache.pop(name.key, None)  # a worker that has not been served yet
            return super().submit(fn, name._replace(folder="/nowhere"), sent, *args)

    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    answer = layer.solve(executor=Blind(), block_outputs=WIDTH)
    assert np.array_equal(answer.weights, expected.weights)
    assert len(ray.stored) == 1


def test_ray_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"^RayExecutor needs Ray: pip install ray"):
        execution.RayExecutor()
