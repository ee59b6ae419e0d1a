"""What a model answers by: said by the views of models, used by what is promised of them."""

from __future__ import annotations

from typing import Literal

__all__ = ["Decision"]

# The number of an output's largest entry, the sign of each, or neither.
Decision = Literal["largest", "signs", "nothing"]
