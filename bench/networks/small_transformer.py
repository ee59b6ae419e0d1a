"""A transformer that is small enough to be trained on one thread: heads, and layers between."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from bench.common.data import Array

WIDTH, HEAD, HEADS, INNER, BLOCKS, CLASSES = 64, 8, 8, 256, 3, 10
SIDE, PATCH = 28, 7


class Attention(nn.Module):
    """Heads side by side, as many as its layers have room for."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, HEAD * HEADS) for _ in range(3))
        self.out = nn.Linear(HEAD * HEADS, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, _ = x.shape
        q, k, v = (
            layer(x).view(n, length, -1, HEAD).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        shares = torch.softmax(q @ k.transpose(-1, -2) / HEAD**0.5, -1)
        return self.out((shares @ v).transpose(1, 2).reshape(n, length, -1))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Patches of an image to ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH**2, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn((SIDE // PATCH) ** 2, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.embed(x) + self.position)).mean(1))


def patches(X: Array) -> Array:
    """Return flat images as rows of patches, one for each position."""
    n = SIDE // PATCH
    cut = X.reshape(len(X), n, PATCH, n, PATCH).swapaxes(2, 3)
    return np.ascontiguousarray(cut.reshape(len(X), n * n, PATCH**2))
