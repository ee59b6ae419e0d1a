"""Layers and networks at a given sparsity on any executor: the same weights."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import nettrim
from nettrim.layer.blocks import workers
from nettrim.trimming.methods import to_sparsity
from support.executors import Here, Watched, minus_one, negated, trim


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(0)
    return rng.standard_normal((200, 24)), rng.standard_normal((24, 30))


def solve(X, W, **options):
    kind = options.get("activation", "relu")
    Y = np.maximum(X @ W, 0) if kind == "relu" else X @ W
    if "pattern" not in options:
        options["sparsity"] = 0.7
    return nettrim.solve_layer_budget(X, Y, weights=W, **options)


def assert_same_answer(executor, options, small):
    here = solve(*small, n_threads=1, **options)
    there = solve(*small, executor=executor, **options)
    assert np.array_equal(here.weights, there.weights)
    assert (here.method, here.swaps, here.pull, here.ridge) == (
        there.method,
        there.swaps,
        there.pull,
        there.ridge,
    )


# --- one layer ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "processes"),
        ({}, "dask"),
        ({"activation": (negated, minus_one)}, "processes"),
        ({"activation": "gelu"}, "dask"),
    ],
    ids=["relu-processes", "relu-dask", "pair-processes", "gelu-dask"],
)
def test_a_layer_does_not_depend_on_where_workers_are(kind, options, request, small):
    assert_same_answer(request.getfixturevalue(kind), options, small)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pattern": "2:4"},
        {"activation": "linear"},
        {"activation": "linear", "method": "admm"},
        {"activation": "gelu"},
        {"activation": "silu"},
        {"activation": (negated, minus_one)},
        {"method": "admm"},
        {"method": "reweighted"},
    ],
    ids=lambda options: "pair" if "negated" in str(options) else str(options),
)
def test_a_layer_does_not_depend_on_the_executor(threads, options, small):
    assert_same_answer(threads, options, small)


def test_surgery_shares_outputs_out(small):
    watched = Watched(Here())
    solve(*small, executor=watched, pull=0.1, ridge=0.01)
    assert len(watched.sizes) == 2  # a block of outputs for each of two workers
    assert max(watched.sizes) < small[0].nbytes / 5


@pytest.mark.parametrize("method", ["admm", "reweighted"])
def test_what_cannot_be_split_goes_to_one_worker(small, method):
    watched = Watched(Here())
    solve(*small, executor=watched, method=method)
    assert len(watched.sizes) == 1


def test_row_weights_of_outputs_reach_the_workers(processes, small):
    X, W = small
    options = {
        "activation": "linear",
        "row_weights": np.random.default_rng(1).random((len(X), W.shape[1])),
    }
    here, there = solve(X, W, **options, n_threads=1), solve(X, W, **options, executor=processes)
    assert np.array_equal(here.weights, there.weights)


def test_time_limits_reach_the_workers(processes, small):
    late = solve(*small, executor=processes, time_limit=1e-9)
    assert (late.status, late.nonzeros) == ("time_limit", round(0.3 * small[1].size))


def test_a_certificate_is_found_on_the_workers(small):
    watched = Watched(Here())
    there = solve(*small, executor=watched, certify=True, pull=0.1, ridge=0.01)
    here = solve(*small, n_threads=1, certify=True, pull=0.1, ridge=0.01)
    assert len(watched.sizes) > 2
    assert there.certificate.status == "optimal"
    assert there.certificate.objective == pytest.approx(here.certificate.objective, rel=1e-5)


def test_functions_that_cannot_be_sent_are_named(processes, small):
    with pytest.raises(TypeError, match="executor cannot send a task"):
        solve(*small, executor=processes, activation=(lambda z: z, np.ones_like))


# --- networks -------------------------------------------------------------------------------------


def assert_same_weights(one, other):
    for a, b in zip(one.model.layers, other.model.layers, strict=True):
        assert np.array_equal(a.weights, b.weights)


@pytest.mark.parametrize("kind", ["threads", "processes", "dask"])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_a_network_does_not_depend_on_the_executor(scheme, kind, request, digits):
    executor = request.getfixturevalue(kind)
    options = {"epsilon": None, "sparsity": 0.8, "scheme": scheme}
    here = trim(digits, **options, n_threads=1)
    there = trim(digits, **options, executor=executor)
    assert_same_weights(here, there)
    assert [layer.name for layer in there.layers] == [layer.name for layer in here.layers]


@pytest.mark.parametrize("pattern", [None, "2:4"])
def test_a_checkpoint_holds_with_and_without_an_executor(digits, tmp_path, pattern):
    options = {"epsilon": None, "checkpoint": tmp_path / "run"}
    options |= {"pattern": pattern} if pattern else {"sparsity": 0.5, "share": "layer"}
    first = trim(digits, **options, executor=Here())
    assert_same_weights(first, trim(digits, **options))


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_an_interrupt_keeps_finished_layers(digits, monkeypatch, scheme):
    calls, execution_wait = itertools.count(), workers.wait

    def wait(futures, **options):
        if next(calls) == 1:
            raise KeyboardInterrupt
        done, _ = execution_wait(futures, **options)
        return [min(done, key=futures.get)], None  # one at a time

    monkeypatch.setattr(workers, "wait", wait)
    options = {"epsilon": None, "sparsity": 0.5, "share": "layer", "layers": [0, 1]}
    monkeypatch.setattr(to_sparsity, "choose_method", lambda part: "admm")
    result = trim(digits, **options, scheme=scheme, executor=Here())
    assert result.interrupted
    assert [layer.status for layer in result.layers] == ["budget", "not reached", "kept"]


# --- layers that see the same ---------------------------------------------------------------------

torch = pytest.importorskip("torch")


class Attention(torch.nn.Module):
    """Three maps of one input, and one behind them."""

    def __init__(self):
        super().__init__()
        self.front = torch.nn.Linear(8, 8)
        self.q, self.k, self.v = (torch.nn.Linear(8, 8, bias=bias) for bias in (True, True, False))
        self.out = torch.nn.Linear(8, 3)

    def forward(self, x):
        x = torch.tanh(self.front(x))
        scores = torch.softmax(self.q(x) * self.k(x), dim=-1)
        return self.out(torch.tanh(scores * self.v(x)))


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return Attention().double(), np.random.default_rng(0).standard_normal((120, 8))


def batches_of(monkeypatch):
    """Return a list of how many whole layers are solved at a time."""
    sizes = []
    solve_side_by_side = to_sparsity.solve_side_by_side

    def counted(jobs, *rest):
        sizes.append(0)

        def counting():
            for job in jobs:
                sizes[-1] += 1
                yield job

        return solve_side_by_side(counting(), *rest)

    monkeypatch.setattr(to_sparsity, "solve_side_by_side", counted)
    return sizes


@pytest.mark.parametrize(
    ("scheme", "batches"), [("cascade", [1, 3, 1]), ("parallel", [5])], ids=["cascade", "parallel"]
)
@pytest.mark.parametrize("max_patches", [20_000, 100])
def test_layers_of_one_input_are_solved_side_by_side(
    attention, monkeypatch, scheme, batches, max_patches
):
    model, X = attention
    options = {
        "pattern": "2:4",
        "scheme": scheme,
        "progress": False,
        "max_patches": max_patches,
    }
    here = nettrim.trim(model, X, **options, n_threads=1)
    sizes = batches_of(monkeypatch)
    with ThreadPoolExecutor(2) as executor:
        there = nettrim.trim(model, X, **options, executor=executor)
    assert sizes == batches
    for name, tensor in here.model.state_dict().items():
        assert torch.equal(tensor, there.model.state_dict()[name])
    assert [layer.discrepancy for layer in here.layers] == [
        layer.discrepancy for layer in there.layers
    ]


def test_layers_that_only_seem_to_see_the_same_are_solved_again(monkeypatch):
    """All inputs of the second are positive in the original model, so its ReLU changes nothing."""

    class Deceptive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.front = torch.nn.Linear(4, 4)
            self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
            with torch.no_grad():
                self.front.weight.copy_(torch.eye(4) - 0.1)
                self.front.bias.zero_()

        def forward(self, x):
            x = self.front(x)
            return torch.tanh(self.a(x)) + torch.tanh(self.b(torch.relu(x + 0)))

    torch.manual_seed(0)
    model, X = Deceptive().double(), np.random.default_rng(0).uniform(1.0, 2.0, (90, 4))
    options = {"pattern": "1:4", "progress": False}
    here = nettrim.trim(model, X, **options, n_threads=1)
    sizes = batches_of(monkeypatch)
    with ThreadPoolExecutor(2) as executor:
        there = nettrim.trim(model, X, **options, executor=executor)
    for name, tensor in here.model.state_dict().items():
        assert torch.equal(tensor, there.model.state_dict()[name])
    assert sizes[0] == 1
    assert sizes[1] == 2
