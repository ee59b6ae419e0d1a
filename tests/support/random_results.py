"""Random calls of what is done with a trimmed network: scored, reported, written, read, shrunk."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import numpy as np

import nettrim
from support import random_networks as nets
from support.random_entry import Arguments, Entry, Random, close, norm, pick
from support.random_models import MODULES, TrimOnnx, TrimTorch, same


class OfResult(Entry):
    """A method of `nettrim.TrimResult`, of a small network or perceptron."""

    share: ClassVar[float] = 0.4

    def __init__(self) -> None:
        self.result: Any = None

    def trimmed(self, rng: Random) -> None:
        """Trim something, as sparse as it may be."""
        if rng.random() < 0.7:
            plan = nets.blueprint(rng, 1, folded=False)
            model, shape = nets.as_network(plan), plan.shape
        else:
            model = nets.perceptron(rng, classifies=True)
            shape = model.coefs_[0].shape[:1]
        self.X = nets.samples(rng, shape)
        goal = pick(rng, [{"epsilon": 0.3}, {"sparsity": 0.7}])
        self.result = nettrim.trim(model, self.X, n_threads=1, progress=False, **goal)

    @property
    def names(self) -> list[str]:
        return [name for name in super().names if name != "self"]

    def call(self, arguments: Arguments) -> Any:
        return type(self).function(self.result, **arguments)


class Accuracy(OfResult):
    """`nettrim.TrimResult.accuracy`."""

    function = nettrim.TrimResult.accuracy

    def arguments(self, rng: Random) -> Arguments:
        self.trimmed(rng)
        return {"X": self.X, "labels": rng.integers(0, self.classes(), len(self.X))}

    def classes(self) -> int:
        """Return how many the model tells apart, at least two."""
        model = self.result.original
        if not isinstance(model, nettrim.Network):
            return len(model.classes_)
        return max(model.predict(self.X).reshape(len(self.X), -1).shape[1], 2)

    def check(self, arguments: Arguments, answer: nettrim.Accuracy) -> bool:
        assert str(answer)
        assert 0 <= answer.before <= 1
        assert 0 <= answer.after <= 1
        assert answer.n_samples == np.shape(arguments["X"])[0]
        if isinstance(self.result.model, nettrim.Network):
            for model, told in ((self.result.original, "before"), (self.result.model, "after")):
                labels = np.ravel(arguments["labels"])
                scores = model.predict(arguments["X"]).reshape(len(labels), -1)
                if scores.shape[1] > 1:
                    share = float((scores.argmax(axis=1) == labels).mean())
                    assert close(getattr(answer, told), share, 1e-12)
        return True


class Report(OfResult):
    """`nettrim.TrimResult.report`."""

    function = nettrim.TrimResult.report
    share: ClassVar[float] = 0.2
    paths = frozenset({"path"})

    def arguments(self, rng: Random) -> Arguments:
        self.trimmed(rng)
        return {"path": "page.html"}

    def check(self, arguments: Arguments, answer: None) -> bool:
        with open(arguments["path"], encoding="utf-8") as page:
            text = page.read()
        assert text.lstrip().lower().startswith("<!doctype html>")
        assert all(layer.name in text for layer in self.result.layers)
        return True


class Export(OfResult):
    """`nettrim.TrimResult.export`, and what reads its files."""

    function = nettrim.TrimResult.export
    options: ClassVar = {
        "formats": (["dense"], ["sparse", "bitmask"], ["header"], ["nonsense"], "dense", ()),
        "input_shape": ((2,), (1, 4, 4), (-1,), (0,)),
        "folder": ("a/b", "."),
    }
    paths = frozenset({"folder"})

    def arguments(self, rng: Random) -> Arguments:
        self.trimmed(rng)
        return {"folder": "out"}

    def check(self, arguments: Arguments, answer: nettrim.Export) -> bool:
        assert str(answer)
        assert repr(answer)
        for file in answer.files:
            assert (answer.folder / file.name).exists()
            if file.name in ("sparse.npz", "bitmask.npz", "model.npz"):
                self._check_file(answer.folder / file.name)
        return True

    def _check_file(self, path: Any) -> None:
        again, model = nettrim.Network.load(path), self.result.model
        if isinstance(model, nettrim.Network):
            pairs = zip(again.prunable_layers(), model.prunable_layers(), strict=True)
            assert all((a.affine.weights == b.affine.weights).all() for a, b in pairs)
        else:
            pairs = zip(again.layers, model.coefs_, strict=True)
            assert all((layer.weights == weights).all() for layer, weights in pairs)


class Shrink(Entry):
    """`nettrim.shrink` of a network with dead units."""

    function = staticmethod(nettrim.shrink)
    share: ClassVar[float] = 0.5

    def arguments(self, rng: Random) -> Arguments:
        self.plan = nets.blueprint(rng, 1, folded=False)
        for name, array in self.plan.weights.items():
            self.plan.weights[name] = array * (rng.random(array.shape) < 0.3)
        self.X = nets.samples(rng, self.plan.shape)
        return {"network": nets.as_network(self.plan)}

    def check(self, arguments: Arguments, answer: nettrim.Network) -> bool:
        expected = self.plan.run(self.plan.weights, self.X)[0]
        distance = norm(answer.predict(self.X) - expected)
        assert distance <= 1e-6 * (norm(expected) + norm(self.X)), f"moved by {distance:g}"
        return True


def load_network(path: Any, network: nettrim.Network) -> nettrim.Network:
    """Save a network and load it again."""
    network.save(path)
    return nettrim.Network.load(path)


class SaveAndLoad(Entry):
    """`nettrim.Network.save` and `nettrim.Network.load`."""

    function = staticmethod(load_network)
    share: ClassVar[float] = 0.3
    options: ClassVar = {"path": ("a.npz", "b", "nowhere/a.npz", ".")}
    unspoiled = frozenset({"network"})
    paths = frozenset({"path"})

    def arguments(self, rng: Random) -> Arguments:
        self.plan = nets.blueprint(rng, 1, folded=False)
        return {"path": "network.npz", "network": nets.as_network(self.plan)}

    def check(self, arguments: Arguments, answer: nettrim.Network) -> bool:
        read = nets.network_weights(answer, self.plan)
        assert same(read, nets.network_weights(arguments["network"], self.plan))
        return True


class LoadWeights(Entry):
    """`nettrim.load_weights` of a perceptron or a module that was trimmed."""

    function = staticmethod(nettrim.load_weights)
    share: ClassVar[float] = 0.3
    unspoiled = frozenset({"model"})
    paths = frozenset({"path"})

    def arguments(self, rng: Random) -> Arguments:
        plan = nets.blueprint(rng, 1)
        self.model = nets.as_module(plan, "tuple") if MODULES else nets.as_onnx(plan)
        X = nets.samples(rng, plan.shape)
        self.result = nettrim.trim(self.model, X, epsilon=0.3, n_threads=1, progress=False)
        self.result.export("out", formats=["sparse", "bitmask"])
        with open("junk.npz", "wb") as junk:
            junk.write(pickle.dumps([1, 2, 3]))
        return {"path": pick(rng, ["out/sparse.npz", "out/bitmask.npz"]), "model": self.model}

    def spoiled(self, name: str, value: Any, rng: Random) -> Any:
        return pick(rng, ["junk.npz", "out", "nowhere", "", 3, None, b"out/sparse.npz"])

    def check(self, arguments: Arguments, answer: Any) -> bool:
        read = TrimTorch if MODULES else TrimOnnx
        assert same(read.weights(None, answer), read.weights(None, self.result.model))  # type: ignore[arg-type]
        return True


ENTRIES = (Accuracy, Report, Export, Shrink, SaveAndLoad, LoadWeights)
