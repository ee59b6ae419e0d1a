"""Random calls of `nettrim.trim`, each answer recomputed from the two models alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from scipy.special import bdtr

import nettrim
from support import random_networks as nets
from support.random_entry import Arguments, Entry, Random, close, maybe, norm, pick
from support.random_layers import assert_pattern
from support.random_networks import Array

try:
    import torch

    from support import random_modules
except ImportError:  # which build of it is the machine's affair
    torch = None  # type: ignore[assignment]

STATUSES = {"optimal", "max_iter", "time_limit", "interrupted", "numerical"}
OTHERWISE = {"budget", "kept", "not reached"}


class Trim(Entry):
    """`nettrim.trim` of one framework's models.

    Attributes
    ----------
    precision : float
        Relative error of what is recomputed.
    """

    function = staticmethod(nettrim.trim)
    precision: ClassVar[float] = 1e-8
    options: ClassVar = {
        "epsilon": (0.0, 0.05, 0.5, 3.0),
        "sparsity": (0.0, 0.3, 0.9, 1.0),
        "pattern": ("1:2", "2:4", "1:10^21", "3:2"),
        "scheme": ("cascade", "parallel"),
        "gamma": (1.0, 2.0),
        "slack": ("positive", "paper"),
        "kappa": (0.5, 0.99, 1.0),
        "layers": ([0], [-1], "0", ["nonsense"], (), [99], "re:.*", "re:(", object),
        "skip": ([0], "re:.*", ["nonsense"], (), [99], int),
        "mask": (False, "nonsense", len, np.ones_like),
        "outputs": ([0], [-1], ["nonsense"], (), [99]),
        "held_out": ((), []),
        "tol": (1e-2, 1e-8),
        "max_iter": (1, 10),
        "time_limit": (1e-9, 1.0),
        "solver": ("auto", "newton", "admm"),
        "share": ("network", "layer"),
        "min_density": (0.0, 0.2, 1.0),
        "max_patches": (1, 5),
        "seed": (0, 1),
        "checkpoint": ("state", "a/b/c"),
    }
    unspoiled = frozenset({"n_threads", "progress"})
    paths = frozenset({"checkpoint"})

    @classmethod
    def title(cls) -> str:
        return f"trim/{cls.__name__.removeprefix('Trim').lower()}"

    def subject(self, rng: Random) -> tuple[Any, Array]:
        """Return a model and samples."""
        raise NotImplementedError

    def weights(self, model: Any) -> nets.Weights:
        """Return all weights of a model by name, outputs first."""
        raise NotImplementedError

    def respond(self, model: Any, X: Any) -> list[Array]:
        """Return all outputs of a model."""
        raise NotImplementedError

    def brought(self, X: Array, rng: Random) -> Any:
        """Return samples as users of the framework have them."""
        return X

    def plain(self, X: Any) -> Array:
        """Return samples that were accepted as one array."""
        dense = X.toarray() if hasattr(X, "toarray") else X
        return np.asarray(dense, dtype=np.float64)

    def others(self) -> Sequence[Any]:
        """Return models that have to be refused."""
        return (None, 3, "model", np.eye(3), [np.eye(3)], object(), nettrim.Network, type)

    def arguments(self, rng: Random) -> Arguments:
        model, X = self.subject(rng)
        self.before = copy.deepcopy(self.weights(model))
        arguments = {"model": model, "X": self.brought(X, rng), "n_threads": 1, "progress": False}
        arguments |= self._goal(rng)
        arguments |= maybe(rng, 0.05, executor=ThreadPoolExecutor(2))
        arguments |= maybe(rng, 0.2, layers=[-1])
        arguments |= maybe(rng, 0.15, outputs=[0])
        arguments |= maybe(rng, 0.3, held_out=X[::2] + 0.1 * np.abs(X).max())
        arguments |= maybe(rng, 0.1, time_limit=5.0)
        arguments |= maybe(rng, 0.1, checkpoint="state")
        arguments |= maybe(rng, 0.1, max_patches=7, seed=1)
        return arguments

    def _goal(self, rng: Random) -> Arguments:
        scheme = maybe(rng, 0.5, scheme=pick(rng, ["cascade", "parallel"]))
        if rng.random() < 0.6:
            goal = {"epsilon": float(pick(rng, [1e-3, 0.05, 0.3, 1.5]))} | scheme
            if scheme.get("scheme") != "parallel":
                goal |= maybe(rng, 0.3, gamma=1.5) | maybe(rng, 0.3, slack="paper")
            goal |= maybe(rng, 0.2, tol=1e-6) | maybe(
                rng, 0.2, solver=pick(rng, ["newton", "admm"])
            )
            if goal.get("solver") != "admm":
                goal |= maybe(rng, 0.2, regularise=pick(rng, ["auto", (0.01, 0.1), (1.0, 0)]))
            return goal
        if rng.random() < 0.3:
            return {"pattern": pick(rng, ["1:2", "2:4"])} | scheme
        goal = {"sparsity": float(pick(rng, [0.0, 0.3, 0.5, 0.9, 1.0]))} | scheme
        return goal | maybe(rng, 0.5, share=pick(rng, ["network", "layer"]))

    def spoiled(self, name: str, value: Any, rng: Random) -> Any:
        if name == "model":
            return pick(rng, self.others())
        return super().spoiled(name, value, rng)

    def call(self, arguments: Arguments) -> Any:
        result = nettrim.trim(**arguments)
        if arguments.get("checkpoint") is None or result.interrupted:
            return result, None
        return result, nettrim.trim(**arguments)

    def check(self, arguments: Arguments, answer: Any) -> bool:
        result, again = answer
        before, after = self.weights(arguments["model"]), self.weights(result.model)
        assert type(result.model) is type(arguments["model"])
        assert same(before, self.before), "the original model was changed"
        if again is not None:
            assert same(after, self.weights(again.model)), "a checkpoint changed the answer"
            assert again.discrepancy == result.discrepancy
        self._check_layers(arguments, result)
        self._check_counts(result, before, after)
        self._check_outputs(arguments, result)
        assert str(result)
        assert repr(result)
        json.dumps(result.recipe, allow_nan=False)
        return bool(result.converged)

    def _check_layers(self, arguments: Arguments, result: Any) -> None:
        tol = float(arguments.get("tol") or 1e-4)
        budgeted = arguments.get("epsilon") is None
        for layer in result.layers:
            assert layer.status in STATUSES | OTHERWISE, layer.status
            # Of weights that stayed the bound is zero, and a framework may sum in another order.
            assert layer.discrepancy <= layer.bound * (1 + self.precision) + 1e-14, (
                f"{layer.name}: error {layer.discrepancy}, bound {layer.bound}"
            )
            if layer.status == "optimal":
                assert layer.gap <= tol * (1 + 1e-6)
                allowed = tol * max(layer.epsilon, 0 if layer.epsilon else 1)
                assert layer.residual <= layer.epsilon + allowed + 1e-9
                assert layer.violation <= tol * (1 + 1e-6) + 1e-9
            if layer.pruned and layer.status != "time_limit":
                assert budgeted == (layer.status == "budget")

    def _check_counts(self, result: Any, before: nets.Weights, after: nets.Weights) -> None:
        handled = [layer for layer in result.layers]
        wide = {name for name, array in before.items() if array.ndim > 1}
        total = sum(before[name].size for name in wide)
        left = sum(int(np.count_nonzero(after[name])) for name in wide)
        told = sum(np.prod(layer.shape) for layer in handled) + sum(
            weight.size for weight in result.untouched
        )
        assert told == total, f"{told} weights told of, there are {total}"
        assert close(result.model_sparsity, 1 - left / total, 1e-12, 1e-12), (
            f"sparsity {result.model_sparsity}, truly {1 - left / total}"
        )
        goal = result.recipe["arguments"]
        pruned = [layer for layer in handled if layer.pruned]
        if goal.get("sparsity") is not None and not result.interrupted:
            shares = [pruned] if goal["share"] == "network" else [[layer] for layer in pruned]
            for layers in shares:
                size = sum(np.prod(layer.shape) for layer in layers)
                kept = sum(layer.nonzeros_after for layer in layers)
                assert kept <= round((1 - float(goal["sparsity"])) * size) + len(layers), (
                    f"{kept} of {size} weights at a sparsity of {goal['sparsity']}"
                )
        if goal.get("pattern") is not None:
            self._check_pattern(result, after, goal["pattern"])

    def _check_pattern(self, result: Any, after: nets.Weights, pattern: str) -> None:
        """Hold every pruned layer against the pattern, where names tell which weights are its."""
        for layer in result.layers:
            matrix = after.get(f"{layer.name.removeprefix('parts.')}.weight")
            if layer.pruned and matrix is not None:
                assert_pattern(matrix.reshape(len(matrix), -1).T, pattern)

    def _check_outputs(self, arguments: Arguments, result: Any) -> None:
        for told, X in (("discrepancy", "X"), ("held_out_discrepancy", "held_out")):
            if arguments.get(X) is None:
                assert told == "discrepancy" or getattr(result, told) is None
                continue
            data = self.plain(arguments[X])
            pairs = zip(
                self.respond(arguments["model"], data),
                self.respond(result.model, data),
                strict=True,
            )
            errors = [(norm(b - a), norm(a)) for a, b in pairs]
            counted = range(len(errors))
            if arguments.get("outputs") is not None:
                counted = sorted({int(n) % len(errors) for n in np.ravel(arguments["outputs"])})
            assert len(result.outputs) == len(counted), "not all outputs are told of"
            relative = []
            for number, output in zip(counted, result.outputs, strict=True):
                distance, size = errors[number]
                relative.append(distance / size if size else distance)
                grain = self.precision * (1 if size else norm(data))
                assert close(getattr(output, told), relative[-1], self.precision, grain), (
                    f"{output.name}: {told} {getattr(output, told)}, truly {relative[-1]}"
                )
                if told == "discrepancy":
                    assert relative[-1] <= output.bound * (1 + self.precision) + grain
            together = float(np.sqrt(np.mean(np.square(relative))))
            assert close(getattr(result, told), together, self.precision, 10 * self.precision)


def same(one: nets.Weights, other: nets.Weights) -> bool:
    """Tell whether two models have the same bits."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


class TrimNetwork(Trim):
    """A `nettrim.Network`."""

    share: ClassVar[float] = 2.0

    def subject(self, rng: Random) -> tuple[Any, Array]:
        self.plan = nets.blueprint(rng, 1, folded=False)
        return nets.as_network(self.plan), nets.samples(rng, self.plan.shape)

    def weights(self, model: Any) -> nets.Weights:
        return nets.network_weights(model, self.plan)

    def respond(self, model: Any, X: Any) -> list[Array]:
        return self.plan.run(self.weights(model), X)


class TrimNetworkError(TrimNetwork):
    """The error of a `nettrim.Network` as a target."""

    share: ClassVar[float] = 0.5
    options: ClassVar = {
        **Trim.options,
        "network": (0.0, 1e-12, 0.5, 1.0, 2.0),
        "regularise": ("auto", (0.1, 0.1), (-1, 0), (1,), "nonsense"),
    }

    @property
    def names(self) -> list[str]:
        return [*super().names, "network", "regularise"]

    def _goal(self, rng: Random) -> Arguments:
        goal = {"network": float(pick(rng, [1e-3, 0.05, 0.3, 0.9]))}
        goal |= maybe(rng, 0.3, scheme=pick(rng, ["cascade", "parallel"]))
        return goal | maybe(rng, 0.2, regularise=pick(rng, ["auto", (0.01, 0.1)]))

    def _check_layers(self, arguments: Arguments, result: Any) -> None:
        by_epsilon = arguments if arguments.get("network") is None else {**arguments, "epsilon": 1}
        super()._check_layers(by_epsilon, result)


class TrimPromise(TrimNetwork):
    """What is promised of a `nettrim.Network`, by counts of held-out samples."""

    share: ClassVar[float] = 0.5
    options: ClassVar = {
        **Trim.options,
        "flips": (0.0, 0.2, 0.5, 1.0, 1e-300),
        "misses": (0.2, 20),
        "error": (0.3, 1.5),
        "quantile": (0.5, 0.9, 1.0),
        "cap": (1.0, 2.0),
        "confidence": (0.5, 0.9, 0.999999, 1.0),
        "path": ("sparsity", "epsilon", "units", nettrim.Sparsity(pattern="1:2"), "nonsense"),
        "labels": (0, [0], "nonsense", (), [[0]], [1.5]),
    }

    @property
    def names(self) -> list[str]:
        own = ("flips", "misses", "error", "quantile", "cap", "confidence", "path", "labels")
        return [*super().names, *own]

    def arguments(self, rng: Random) -> Arguments:
        arguments = super().arguments(rng)
        X = arguments["X"]
        if len(X) < 2:
            arguments["X"] = X = np.concatenate([X, 2 * X + 1])
        draws = rng.integers(len(X), size=int(rng.integers(60, 200)))
        noise = rng.standard_normal((len(draws), *X.shape[1:]))
        arguments["held_out"] = X[draws] + 0.1 * (np.abs(X).max() or 1) * noise
        for name in ("outputs", "executor", "time_limit"):
            arguments.pop(name, None)
        scores = self.respond(arguments["model"], arguments["held_out"])[0]
        if {"flips", "misses"} & set(arguments) and (scores.ndim != 2 or scores.shape[1] < 2):
            for name in ("flips", "misses"):
                arguments.pop(name, None)
            arguments |= {"error": 0.5, "quantile": 0.8}
        if "misses" in arguments:
            arguments["labels"] = rng.integers(scores.shape[1], size=len(scores))
        return arguments

    def _goal(self, rng: Random) -> Arguments:
        level = float(pick(rng, [0.1, 0.3, 0.6]))
        what = pick(rng, [{"flips": level}, {"misses": level}, {"error": 0.4, "quantile": 0.8}])
        path = maybe(rng, 0.5, path=pick(rng, ["sparsity", "epsilon"]))
        return what | path | maybe(rng, 0.3, confidence=pick(rng, [0.5, 0.9]))

    def check(self, arguments: Arguments, answer: Any) -> bool:
        result, again = answer
        assert same(self.weights(arguments["model"]), self.before), "the original was changed"
        assert result.unseen is None
        assert str(result)
        json.dumps(result.recipe, allow_nan=False)
        self._check_outputs(arguments, result)
        promise = result.promise
        if again is not None:
            assert again.promise == promise, "a checkpoint changed what is promised"
        lost = self._lost(arguments, result)
        size, count = len(lost), round(promise.seen * len(lost))
        assert count == int(lost.sum()), f"{count} seen, truly {int(lost.sum())}"
        level = promise.level if promise.quantile is None else 1 - promise.quantile
        chance = float(bdtr(count, size, level))
        assert close(promise.p_value, chance, 1e-9, 1e-12), f"p {promise.p_value}, truly {chance}"
        assert promise.kept == (promise.p_value <= 1 - promise.confidence)
        return bool(promise.kept)

    def _lost(self, arguments: Arguments, result: Any) -> Array:
        """Return which held-out samples are beyond what is promised of most."""
        data = self.plain(arguments["held_out"])
        pairs = [self.respond(model, data) for model in (arguments["model"], result.model)]
        if result.promise.kind == "error":
            squares = [
                (np.linalg.norm((b - a).reshape(len(data), -1), axis=1), a.reshape(len(data), -1))
                for a, b in zip(*pairs, strict=True)
            ]
            sizes = [(moved, np.linalg.norm(a, axis=1)) for moved, a in squares]
            with np.errstate(all="ignore"):
                each = [np.where(moved > 0, moved / size, 0) ** 2 for moved, size in sizes]
            return np.sqrt(np.mean(each, axis=0)) > result.promise.level
        before, after = (own[0].argmax(axis=1) for own in pairs)
        if result.promise.kind == "flips":
            return before != after
        labels = np.asarray(arguments["labels"]).reshape(len(data))
        return (before == labels) & (after != labels)


class TrimPerceptron(Trim):
    """A perceptron of scikit-learn."""

    def subject(self, rng: Random) -> tuple[Any, Array]:
        model = nets.perceptron(rng)
        return model, nets.samples(rng, model.coefs_[0].shape[:1])

    def weights(self, model: Any) -> nets.Weights:
        return {
            **{f"w{k}": W.T for k, W in enumerate(model.coefs_)},
            **{f"b{k}": b for k, b in enumerate(model.intercepts_)},
        }

    def respond(self, model: Any, X: Any) -> list[Array]:
        return nets.perceptron_output(model, X)

    def others(self) -> Sequence[Any]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier

        return (MLPClassifier(), MLPClassifier, LogisticRegression(), *super().others())


class TrimOnnx(Trim):
    """An ONNX model."""

    precision: ClassVar[float] = 1e-4

    def subject(self, rng: Random) -> tuple[Any, Array]:
        self.plan = nets.blueprint(rng)
        return nets.as_onnx(self.plan), nets.samples(rng, self.plan.shape)

    def weights(self, model: Any) -> nets.Weights:
        return nets.onnx_weights(model)

    def respond(self, model: Any, X: Any) -> list[Array]:
        return self.plan.run(self.weights(model), X)

    def brought(self, X: Array, rng: Random) -> Any:
        return {"X": X} if rng.random() < 0.2 else X

    def plain(self, X: Any) -> Array:
        return super().plain(X["X"] if isinstance(X, dict) else X)

    def others(self) -> Sequence[Any]:
        import onnx

        empty = onnx.ModelProto()
        return (empty, onnx.GraphProto(), onnx.ModelProto, *super().others())


class TrimTorch(Trim):
    """A module of PyTorch."""

    def subject(self, rng: Random) -> tuple[Any, Array]:
        self.plan = nets.blueprint(rng)
        module = nets.as_module(self.plan, pick(rng, ["tuple", "dict"]))
        return module, nets.samples(rng, self.plan.shape)

    def weights(self, model: Any) -> nets.Weights:
        state = model.state_dict().items()
        return {name.removeprefix("parts."): value.numpy() for name, value in state}

    def brought(self, X: Array, rng: Random) -> Any:
        return random_modules.brought(X, rng)

    def plain(self, X: Any) -> Array:
        return super().plain(random_modules.joined(X))

    def respond(self, model: Any, X: Any) -> list[Array]:
        return random_modules.outputs(model, X)

    def others(self) -> Sequence[Any]:
        nn = torch.nn
        odd = (
            nn.Linear(2, 2),
            nn.Sequential(),
            nn.Linear,
            nn.ReLU(),
            torch.eye(2),
            nn.LazyLinear(2),
        )
        return (*odd, *super().others())


class TrimOdd(TrimTorch):
    """A module of PyTorch with something beyond linear layers and ReLUs."""

    def subject(self, rng: Random) -> tuple[Any, Array]:
        size = int(rng.integers(1, 7))
        return random_modules.odd(rng, size), nets.samples(rng, (size,))


MODULES: tuple[type[Entry], ...] = () if torch is None else (TrimTorch, TrimOdd)
ENTRIES = (TrimNetwork, TrimNetworkError, TrimPromise, TrimPerceptron, TrimOnnx, *MODULES)
