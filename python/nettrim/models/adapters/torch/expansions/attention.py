"""Attention with a layer for each of its projections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .parts import linear_of

__all__ = ["Attention"]


class Attention(nn.Module):
    """`torch.nn.MultiheadAttention` with a layer for each of its projections."""

    def __init__(self, given: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.kdim, self.vdim = given.embed_dim, given.kdim, given.vdim
        self.num_heads, self.head_dim = given.num_heads, given.head_dim
        self.batch_first, self.dropout = given.batch_first, given.dropout
        self.bias_k = self.bias_v = None
        self.add_zero_attn = False
        self._qkv_same_embed_dim = given._qkv_same_embed_dim
        if given.in_proj_weight is None:
            weights = (given.q_proj_weight, given.k_proj_weight, given.v_proj_weight)
        else:
            weights = given.in_proj_weight.chunk(3)
        biases = (None,) * 3 if given.in_proj_bias is None else given.in_proj_bias.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = map(linear_of, weights, biases)
        self.out_proj = linear_of(given.out_proj.weight, given.out_proj.bias)

    @property
    def in_proj_weight(self) -> torch.Tensor | None:
        """The weights of three projections of inputs of one size, as the module has them."""
        if not self._qkv_same_embed_dim:
            return None
        return torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])

    @property
    def in_proj_bias(self) -> torch.Tensor | None:
        """The biases of the three projections, as the module has them."""
        if self.q_proj.bias is None:
            return None
        return torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend as the module does in evaluation mode.

        There, `is_causal` is a hint of what `attn_mask` holds, and nothing follows from it here.
        """
        q, k, v = map(self._heads, (self.q_proj(query), self.k_proj(key), self.v_proj(value)))
        mask = _sum([self._pair_mask(attn_mask, q), _key_mask(key_padding_mask, q)])
        if not need_weights:
            mixed = F.scaled_dot_product_attention(q, k, v, mask)
            return self.out_proj(self._merged(mixed)), None
        scores = _sum([q @ k.transpose(-1, -2) * self.head_dim**-0.5, mask])
        shares = F.softmax(scores, -1)
        output = self.out_proj(self._merged(shares @ v))
        return output, shares.mean(-3) if average_attn_weights else shares

    @property
    def _time(self) -> int:
        """The axis of time behind the split into heads, with a batch or without one."""
        return -3 if self.batch_first else 0

    def _heads(self, values: torch.Tensor) -> torch.Tensor:
        """Return values by batch, head, time and feature."""
        heads: torch.Tensor = values.unflatten(  # type: ignore[no-untyped-call]
            -1, (self.num_heads, self.head_dim)
        )
        return heads.movedim(self._time, -2)

    def _merged(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of all heads side by side, as the module orders its axes."""
        return values.movedim(-2, self._time).flatten(-2)

    def _pair_mask(self, mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
        """Return what is added to the scores of pairs; some masks have the heads in the batch."""
        if mask is None or mask.dim() < 3:
            return _addend(mask, like)
        return _addend(mask.reshape(*like.shape[:-2], *mask.shape[-2:]), like)


def _key_mask(mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    """Return what is added to the scores of keys."""
    return None if mask is None else _addend(mask[..., None, None, :], like)


def _addend(mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    """Return a mask as numbers that are added to scores."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return like.new_zeros(mask.shape).masked_fill(mask, -torch.inf)


def _sum(terms: Iterable[torch.Tensor | None]) -> Any:
    """Return the sum of those that are there; None if none is."""
    there = [term for term in terms if term is not None]
    return sum(there[1:], start=there[0]) if there else None
