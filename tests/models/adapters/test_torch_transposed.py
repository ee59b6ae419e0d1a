"""Transposed convolutions as affine maps of patches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nettrim.models.model_view import as_view
from support.networks import trim

torch = pytest.importorskip("torch")
nn = torch.nn

sizes = st.integers(1, 3)


def outputs(model: Any, X: Any) -> Any:
    with torch.no_grad():
        return model(torch.as_tensor(X)).numpy()


def settled(model: Any, X: Any) -> Any:
    view: Any = as_view(model)
    view.calibration(X, "X")
    return view


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> tuple[Any, Any]:
    """A transposed convolution of any geometry, and data that fit."""
    axes = draw(st.sampled_from([1, 2]))
    per_axis = st.tuples(*[sizes] * axes)
    groups, stride, dilation = draw(sizes), draw(per_axis), draw(per_axis)
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d)[axes - 1](
        groups * draw(sizes),
        groups * draw(sizes),
        draw(per_axis),
        stride=stride,
        padding=draw(st.tuples(*[st.integers(0, 3)] * axes)),
        output_padding=[
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        ],
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    ).double()
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return layer, rng.standard_normal((4, layer.in_channels, *draw(st.tuples(*[sizes] * axes))))


@given(transposed_convolutions())
def test_they_are_affine_maps_of_patches(case: tuple[Any, Any]) -> None:
    layer, X = case
    model = nn.Sequential(layer)
    try:
        computed = outputs(model, X)
    except RuntimeError:  # more is cut off than there is
        assume(False)
    view = settled(model, X)
    (place,) = view.prunable_layers()

    def rows(values: Any) -> Any:
        return np.moveaxis(values, 1, -1).reshape(-1, layer.out_channels)

    np.testing.assert_allclose(place.apply(place.affine, X), rows(computed), atol=1e-12)
    other = X + np.random.default_rng(1).standard_normal(X.shape)
    moved = np.linalg.norm(outputs(model, other) - computed)
    assert moved <= place.lipschitz(place.affine, X.shape) * np.linalg.norm(other - X) * (1 + 1e-9)
    weights = place.affine.weights * (np.random.default_rng(2).random(place.shape) < 0.5)
    sparser = place.affine.replaced(weights)
    written = view.with_weights({0: sparser})
    np.testing.assert_allclose(place.apply(sparser, X), rows(outputs(written, X)), atol=1e-12)


class Decoder(nn.Module):
    """An encoder and a decoder of images, which torch.fx can follow or not."""

    def __init__(self, followed: bool = True) -> None:
        super().__init__()
        self.followed = followed
        self.down = nn.Conv2d(1, 4, 3, 2, 1)
        self.up, self.norm = nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.BatchNorm2d(3)
        self.last = nn.ConvTranspose2d(3, 1, 3)

    def forward(self, x: Any) -> Any:
        if not self.followed and x.shape[0] < 1:
            return x
        return self.last(self.norm(self.up(self.down(x).relu())).relu())


@pytest.mark.parametrize("followed", [True, False])
def test_a_decoder(rng: np.random.Generator, followed: bool) -> None:
    model, X = Decoder(followed).eval(), rng.standard_normal((12, 1, 8, 8))
    view = settled(model, X)
    found = [(layer.name, layer.activation) for layer in view.prunable_layers()]
    assert found == [("down", "relu"), ("up", "relu"), ("last", "linear")]
    assert [w.reason for w in view.untouched()] == []
    for options in ({"epsilon": 0.1}, {"sparsity": 0.5}, {"pattern": "2:4"}):
        result = trim(model, X, **options)
        before, after = outputs(model, X.astype("f4")), outputs(result.model, X.astype("f4"))
        moved = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert result.discrepancy == pytest.approx(moved, rel=1e-4)
        assert result.discrepancy <= result.bound < np.inf
    zeros = sum(int((p == 0).sum()) for p in result.model.parameters() if p.dim() > 1)
    assert zeros >= 0.49 * result.nonzeros_before


def test_one_that_is_told_the_size_of_its_output(rng: np.random.Generator) -> None:
    class Told(Decoder):
        def forward(self, x: Any) -> Any:
            return self.last(self.up(self.down(x), output_size=x.shape[2:]))

    X = rng.standard_normal((6, 1, 8, 8))
    with pytest.warns(UserWarning, match="'up' is not pruned: it is told how large its output"):
        view = settled(Told().eval(), X)
    assert [layer.name for layer in view.prunable_layers()] == ["down", "last"]
