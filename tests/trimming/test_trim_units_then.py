"""Units first, then weights, in one call: one result, measured against the original network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim
from nettrim import Network
from nettrim.results.recipe import format_snippet
from support.networks import Array, random_network, trim

pytestmark = [
    pytest.mark.filterwarnings("ignore::nettrim.LargeErrorWarning"),
    pytest.mark.filterwarnings("ignore::nettrim.CalibrationWarning"),
]

GOAL = nettrim.Units(0.6, multiple_of=1, then=nettrim.Sparsity(0.7))


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network(np.random.default_rng(3), 20, 32, 24, 5)


@pytest.fixture(scope="module")
def X() -> Array:
    return np.random.default_rng(4).standard_normal((300, 20))


def relative(after: Array, before: Array) -> float:
    return float(np.linalg.norm(after - before) / np.linalg.norm(before))


@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_it_is_what_two_calls_make(network: Network, X: Array, scheme: str) -> None:
    unseen = np.random.default_rng(5).standard_normal((200, 20))
    result = trim(network, X, goal=GOAL, scheme=scheme, held_out=unseen)
    smaller = trim(network, X, goal=nettrim.Units(0.6, multiple_of=1), scheme=scheme)
    sparse = trim(smaller.model, X, sparsity=0.7, scheme=scheme)
    for one, other in zip(result.model.layers, sparse.model.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
        assert np.array_equal(one.bias, other.bias)
    assert result.widths == smaller.widths
    assert result.nonzeros_after == sparse.nonzeros_after
    assert result.nonzeros_before == smaller.nonzeros_before


def test_errors_and_bounds_are_those_of_the_original_network(network: Network, X: Array) -> None:
    unseen = np.random.default_rng(5).standard_normal((200, 20))
    result = trim(network, X, goal=GOAL, held_out=unseen)
    assert result.original is network
    for data, reported in ((X, result.discrepancy), (unseen, result.held_out_discrepancy)):
        error = relative(result.model.predict(data), network.predict(data))
        assert reported == pytest.approx(error, rel=1e-9)
    assert result.discrepancy <= result.bound * (1 + 1e-9)
    assert result.recipe["model"] == trim(network, X, sparsity=0.5).recipe["model"]


def test_convolutions_of_pytorch() -> None:
    """All of them become sparse, the depthwise one among them."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, groups=16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 12, 1, bias=False),
        torch.nn.BatchNorm2d(12),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(12 * 16, 3),
    ).eval()
    inputs = torch.randn(24, 3, 8, 8)
    goal = nettrim.Units(operations=0.6, multiple_of=1, then=nettrim.Sparsity(0.4))
    result = trim(module, inputs, goal=goal)
    before, after = (m(inputs).detach().numpy().astype(float) for m in (module, result.model))
    assert result.discrepancy == pytest.approx(relative(after, before), rel=1e-4)
    assert result.model[0].out_channels < 16
    weights = [result.model[number].weight for number in (0, 2, 4, 8)]
    kept = sum(int((w != 0).sum()) for w in weights)
    assert bool((result.model[2].weight == 0).any())
    assert kept == pytest.approx(0.6 * sum(w.numel() for w in weights), abs=1)


def test_inputs_by_name_and_padding(X: Array) -> None:
    torch = pytest.importorskip("torch")

    class Tagger(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, 16), torch.nn.Linear(16, 3)

        def forward(self, x: Any, attention_mask: Any) -> Any:
            return self.b(torch.relu(self.a(x))) * attention_mask[..., None]

    torch.manual_seed(0)
    mask = np.arange(5) < np.arange(60)[:, None] % 5 + 1
    data = {"x": X.reshape(300, 5, 4)[:60].astype(np.float32), "attention_mask": mask}
    result = trim(Tagger().eval(), data, goal=GOAL)
    tensors = {name: torch.from_numpy(values) for name, values in data.items()}
    before, after = (m(**tensors).detach().numpy() for m in (result.original, result.model))
    assert result.discrepancy == pytest.approx(relative(after[mask], before[mask]), rel=1e-4)


def test_layers_that_must_not_change(network: Network, X: Array) -> None:
    goal = nettrim.Units(0.8, multiple_of=1, then=nettrim.Sparsity(0.5))
    result = trim(network, X, goal=goal, layers=[0, 1])
    third = result.model.layers[2].weights
    assert np.array_equal(third, network.layers[2].weights)
    handled = [layer.weights for layer in result.model.layers[:2]]
    kept = sum(int(np.count_nonzero(weights)) for weights in handled)
    assert kept == round(0.5 * sum(weights.size for weights in handled))


def test_a_checkpoint_resumes_in_both_walks(network: Network, X: Array, tmp_path: Path) -> None:
    whole = trim(network, X, goal=GOAL, checkpoint=tmp_path)
    (tmp_path / "layer002.npz").unlink()
    (tmp_path / "then" / "layer003.npz").unlink()
    again = trim(network, X, goal=GOAL, checkpoint=tmp_path)
    for one, other in zip(whole.model.layers, again.model.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
    other_goal = nettrim.Units(0.6, multiple_of=1, then=nettrim.Sparsity(0.6))
    with pytest.raises(ValueError, match=str(tmp_path)):
        trim(network, X, goal=other_goal, checkpoint=tmp_path)


def test_the_recipe_repeats_it(network: Network, X: Array, tmp_path: Path) -> None:
    result = trim(network, X, goal=GOAL)
    names: dict[str, Any] = {"model": network, "X": X}
    exec(format_snippet(result.recipe), names)  # noqa: S102 (what is written down for users to run)
    for one, other in zip(result.model.layers, names["result"].model.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
    result.report(tmp_path / "report.html")
    assert "then=Sparsity" in (tmp_path / "report.html").read_text(encoding="utf-8")
    exported = Network.load(result.export(tmp_path / "out").folder / "model.npz")
    assert np.allclose(exported.predict(X), result.model.predict(X))


def test_an_interrupted_second_walk_leaves_the_smaller_network(
    network: Network, X: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nettrim.trimming.methods.to_sparsity.ToSparsity.prepare", interrupted)
    result = trim(network, X, goal=GOAL)
    smaller = trim(network, X, goal=nettrim.Units(0.6, multiple_of=1))
    assert result.interrupted
    for one, other in zip(result.model.layers, smaller.model.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)


def test_a_keyword_of_trim(network: Network, X: Array) -> None:
    result = trim(network, X, size=0.6, then=nettrim.Sparsity(0.7))
    assert result.widths is not None
    assert result.nonzeros_after < 0.4 * result.widths.parameters.after
    with pytest.raises(ValueError, match="then belongs to size"):
        trim(network, X, epsilon=0.1, then=nettrim.Sparsity(0.7))


def test_what_cannot_follow_is_refused(network: Network, X: Array) -> None:
    for wrong in (nettrim.Error(0.1), 0.8, nettrim.Units(0.5)):
        with pytest.raises(TypeError, match=r"then must be nettrim\.Sparsity"):
            nettrim.Units(0.5, then=wrong)  # type: ignore[arg-type]
    promise = nettrim.Promise(error=0.9, path=GOAL)
    unseen = np.random.default_rng(5).standard_normal((200, 20))
    with pytest.raises(ValueError, match="then: "):
        trim(network, X, goal=promise, held_out=unseen)


def test_an_onnx_model(X: Array) -> None:
    pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")
    from support.onnx_exports import export  # needs both

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(20, 24), torch.nn.ReLU(), torch.nn.Linear(24, 4))
    result = trim(export(module, (20,), dynamo=False), X, goal=GOAL)
    assert result.discrepancy <= result.bound * (1 + 1e-9)
    assert result.widths is not None
    assert result.widths.parameters.after <= 0.6 * result.widths.parameters.before
