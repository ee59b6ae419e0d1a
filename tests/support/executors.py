"""Executors that watch what is sent, or work at once."""

from __future__ import annotations

import pickle
import types
from concurrent.futures import Executor, Future

import numpy as np
import pytest

import nettrim
from nettrim.layer.blocks import workers

WIDTH = 15  # two blocks of the layer


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


def negated(z):
    """Return an activation that workers find here, in a file that loads nothing large."""
    return -z


def minus_one(z):
    """Return its slope."""
    return -np.ones_like(z)


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
