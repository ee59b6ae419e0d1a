"""Ray as an executor, and what is said where it is missing."""

from __future__ import annotations

import pickle
import sys
import types
from concurrent.futures import Future

import numpy as np
import pytest

from nettrim import execution
from nettrim.layer.blocks import workers
from support.executors import WIDTH


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
