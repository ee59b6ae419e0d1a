"""Sizes as callers give them: one number for all axes, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeAlias

from ...base.arguments import show

__all__ = ["Padding", "Sizes", "check_padding", "check_sizes"]

LARGEST = 2**31 - 1

Sizes: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]]


def check_sizes(value: Any, name: str, axes: int | None = None, least: int = 1) -> tuple[int, ...]:
    """Return whole numbers, one for each axis; without ``axes`` as many as came."""
    numbers = tuple(value) if _is_sequence(value) else (value,) * (axes or 1)
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in numbers)
    whole = whole and all(least <= int(n) <= LARGEST for n in numbers)
    if not whole or not numbers or (axes is not None and len(numbers) != axes):
        wanted = f"{axes} numbers" if axes else "numbers"
        raise ValueError(
            f"{name} must be a whole number or {wanted} of at least {least}, got {show(value)}"
        )
    return tuple(int(n) for n in numbers)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def check_padding(value: Any, axes: int) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and behind each axis."""
    if isinstance(value, Sequence) and value and all(isinstance(v, Sequence) for v in value):
        pairs = tuple(check_sizes(pair, "padding", 2, least=0) for pair in value)
        if len(pairs) != axes:
            raise ValueError(f"padding must have {axes} pairs, got {show(value)}")
        return tuple((before, behind) for before, behind in pairs)
    return tuple((n, n) for n in check_sizes(value, "padding", axes, least=0))
