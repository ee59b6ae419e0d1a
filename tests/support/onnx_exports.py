"""Small PyTorch models in ONNX, by both exporters."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional


def export(model: nn.Module, shape: tuple[int, ...], dynamo: bool) -> onnx.ModelProto:
    """The model in ONNX, for any number of samples; dynamo says which exporter is used."""
    if dynamo:
        pytest.importorskip("onnxscript")
        names: dict[str, Any] = {"dynamic_shapes": ({0: "n"},)}
    else:
        names = {"dynamic_axes": {"x": {0: "n"}}}
    stream = io.BytesIO()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (torch.randn(2, *shape),),
            stream,
            input_names=["x"],
            dynamo=dynamo,
            **names,
        )
    return onnx.load_from_string(stream.getvalue())


class Residual(nn.Module):
    """Convolutions with normalisation, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.body = nn.Sequential(
            nn.Conv2d(8, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, padding=1),
        )
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x: Any) -> Any:
        """Return logits."""
        x = torch.relu(self.stem(x))
        x = functional.max_pool2d(torch.relu(x + self.body(x)), 2)
        return self.head(torch.flatten(x, 1))


class Mobile(nn.Module):
    """A depthwise convolution, and channels that are squeezed and excited."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU6())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.Hardswish())
        self.narrow = nn.Conv2d(8, 12, 1)
        self.squeeze, self.excite = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Any) -> Any:
        """Return logits."""
        x = self.narrow(self.deep(self.wide(x)))
        means = x.mean((2, 3), keepdim=True)
        x = x * torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Grouped(nn.Module):
    """Attention with fewer keys than queries, their halves from one layer, and a gated layer."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.pairs = nn.Linear(24, 24), nn.Linear(24, 24)
        self.out = nn.Linear(24, 24)
        self.norm = nn.LayerNorm(24)
        self.gate, self.up, self.down = nn.Linear(24, 20), nn.Linear(24, 20), nn.Linear(20, 24)

    def forward(self, x: Any) -> Any:
        """Return a sequence like that which comes in: 6 heads of 4, keys for pairs of them."""
        n, length, _ = x.shape
        queries = self.queries(x).view(n, length, 6, 4).transpose(1, 2)
        keys, values = (
            half.reshape(n, length, 3, 4).transpose(1, 2).repeat_interleave(2, 1)
            for half in self.pairs(x).chunk(2, -1)
        )
        heads = functional.scaled_dot_product_attention(queries, keys, values)
        x = x + self.out(heads.transpose(1, 2).reshape(n, length, 24))
        z = self.norm(x)
        return x + self.down(functional.silu(self.gate(z)) * self.up(z))


class Encoder(nn.Module):
    """PyTorch's own block of a transformer: queries, keys and values from one layer."""

    def __init__(self) -> None:
        super().__init__()
        options = {"batch_first": True, "norm_first": True, "dropout": 0.0}
        self.block = nn.TransformerEncoderLayer(24, 4, 30, **options)

    def forward(self, x: Any) -> Any:
        """Return a sequence like that which comes in: 4 heads of 6."""
        return self.block(x)


def settle(model: nn.Module) -> nn.Module:
    """Give a model biases and statistics as training leaves them, no two alike."""
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.dim() == 1 and value.is_floating_point():
                value.add_(0.5 * torch.rand_like(value))
                assert "running" not in name or value.min() >= 0
    return model
