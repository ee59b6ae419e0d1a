"""Masks keep zeros while a trimmed module is trained, saved and exported."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nettrim

torch = pytest.importorskip("torch")
F = torch.nn.functional
nn = torch.nn

from torch.nn.utils import parametrizations
from torch.utils.data import DataLoader, TensorDataset

import nettrim.torch
from support.torch_modules import assert_same_state


def sparse() -> Any:
    """A module with zeros in two of its layers."""
    model = nn.Sequential(nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4)).train()
    for layer in (model[0], model[3]):
        layer.weight.data[torch.rand_like(layer.weight) < 0.6] = 0.0
    return model


def zeros(model: Any) -> list[Any]:
    return [model[k].weight == 0 for k in (0, 3)]


def assert_same_zeros(one: Any, other: Any) -> None:
    assert all(map(torch.equal, zeros(one), zeros(other)))
    assert any(part.any() for part in zeros(one))


def batches(n: int = 4) -> list[tuple[Any, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(6, 1, 8, generator=generator), torch.randint(4, (6,), generator=generator))
        for _ in range(n)
    ]


def step(model: Any) -> None:
    """One step of an optimiser that moves everything."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    X, targets = batches(1)[0]
    F.cross_entropy(model(X), targets).backward()
    optimizer.step()


def test_masks_keep_zeros() -> None:
    model = sparse()
    original = copy.deepcopy(model)
    assert nettrim.torch.keep_zeros(nettrim.torch.keep_zeros(model)) is model
    X = batches(1)[0][0]
    assert torch.equal(model(X), original(X))
    step(model)
    assert_same_zeros(model, original)
    assert not torch.equal(model[3].weight, original[3].weight)
    copied = copy.deepcopy(model)
    step(copied)
    assert_same_zeros(copied, original)
    loaded = nettrim.torch.keep_zeros(sparse())
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded(X), model(X))
    step(loaded)
    assert_same_zeros(loaded, original)
    expected = model(X)
    assert nettrim.torch.remove_masks(model) is model
    assert model.state_dict().keys() == original.state_dict().keys()
    assert torch.equal(model(X), expected)
    assert_same_zeros(model, original)


def test_masks_of_attention_and_recurrent_layers() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.lstm = nn.LSTM(8, 5, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.lstm(self.attention(x, x, x)[0])[1][0][0]

    model = Both()
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    for weight in weights.values():
        weight.data[torch.rand_like(weight) < 0.5] = 0.0
    before = copy.deepcopy(model.state_dict())
    batches = [(torch.randn(4, 6, 8), torch.randint(5, (4,))) for _ in range(3)]
    tuned = nettrim.torch.fine_tune(model, batches, epochs=2, lr=0.1).state_dict()
    assert len(weights) == 4
    assert tuned.keys() == before.keys()
    for name in weights:
        assert torch.equal(tuned[name] == 0, before[name] == 0)
        assert not torch.equal(tuned[name], before[name])


# torch.onnx copies what its own torch.utils marks as deprecated.
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")
def test_masks_go_into_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = nettrim.torch.keep_zeros(sparse())
    step(model)
    X = batches(1)[0][0]
    torch.onnx.export(model.eval(), (X,), tmp_path / "model.onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (computed,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    np.testing.assert_allclose(computed, model(X).detach().numpy(), atol=1e-5)


def test_other_parametrisations_are_not_removed() -> None:
    model = nettrim.torch.keep_zeros(sparse())
    parametrizations.orthogonal(model[3])
    with pytest.raises(ValueError, match=r"^module: the weight of layer '3' has other"):
        nettrim.torch.remove_masks(model)


def test_fine_tuning_keeps_zeros() -> None:
    model = sparse()
    model[0].eval()
    original, losses = copy.deepcopy(model), []

    def tuned() -> Any:
        torch.manual_seed(0)
        loader = DataLoader(TensorDataset(*map(torch.cat, zip(*batches()))), 5, shuffle=True)  # noqa: B905
        return nettrim.torch.fine_tune(
            model, loader, epochs=20, lr=0.02, callback=lambda epoch, loss: losses.append(loss)
        )

    first, second = tuned(), tuned()
    assert_same_state(first, second)
    assert_same_state(model, original)
    assert_same_zeros(first, original)
    assert first.state_dict().keys() == original.state_dict().keys()
    assert [m.training for m in first.modules()] == [m.training for m in original.modules()]
    assert len(losses) == 40
    assert losses[19] < 0.9 * losses[0]


def test_fine_tuning_takes_a_loss_an_optimiser_and_a_callback() -> None:
    model, epochs = sparse(), []

    def stop(epoch: int, loss: float) -> bool:
        epochs.append(epoch)
        return epoch == 2

    def towards_zero(outputs: Any, targets: Any) -> Any:
        return (outputs**2).mean()

    tuned = nettrim.torch.fine_tune(
        model, batches(), epochs=9, loss=towards_zero, optimizer=torch.optim.SGD, callback=stop
    )
    assert epochs == [0, 1, 2]
    assert_same_zeros(tuned, model)
    assert tuned(batches()[0][0]).norm() < model(batches()[0][0]).norm()
    assert_same_state(nettrim.torch.fine_tune(model, batches(), epochs=0), model)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"epochs": -1}, ValueError, "epochs must be at least 0"),
        ({"epochs": 1.5}, TypeError, "epochs must be a whole number"),
        ({"lr": 0.0}, ValueError, "lr must be finite and greater than 0"),
        ({"lr": 1e30}, ValueError, "lr=1e+30: the loss was"),
        ({"module": "net"}, TypeError, "module must be a torch.nn.Module, got str"),
        ({"module": nn.ReLU()}, ValueError, "module has no parameter that can be trained"),
        ({"train_loader": [torch.zeros(3, 1, 8)]}, ValueError, "train_loader must yield pairs"),
        ({"train_loader": []}, ValueError, "train_loader is empty"),
    ],
)
def test_fine_tuning_names_what_is_wrong(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    given = {"module": sparse(), "train_loader": batches(), "epochs": 3, **arguments}
    with pytest.raises(error, match=f"^{re.escape(words)}"):
        nettrim.torch.fine_tune(given.pop("module"), given.pop("train_loader"), **given)
