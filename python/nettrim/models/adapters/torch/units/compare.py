"""Whether a module without some units computes what it does where nothing reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ....layer_view import Affine, LayerView
from ....samples import Data
from ....units.unit_map import UnitMap
from ....units.unread import without_reading
from ..expansions.expand import are_near
from ..run import Runner
from .cut import cut_module

__all__ = ["Comparison"]


class Comparison:
    """A comparison of smaller modules with those they were made from, on a few samples.

    Parameters
    ----------
    copy_with : callable
        Takes weights of layers by their positions, and returns a copy of the module with them.
    layers : sequence of LayerView
    samples : Data
    outputs : sequence of str
        Those that are compared.
    precise : bool
        Whether to compute in float64, if the module's own code can.
    """

    def __init__(
        self,
        copy_with: Callable[[Mapping[int, Affine]], nn.Module],
        layers: Sequence[LayerView],
        samples: Data,
        outputs: Sequence[str],
        precise: bool,
    ) -> None:
        self._copy_with, self._samples, self._outputs = copy_with, samples, outputs
        self._layers = {layer.name: layer.affine for layer in layers}
        self._precise = precise
        try:
            self._run(copy_with({}))
        except Exception:  # noqa: BLE001 (of code that is not ours)
            self._precise = False

    def holds(self, units: UnitMap, kept: NDArray[np.bool_]) -> bool:
        """Tell whether a module is the same, up to rounding, without the units not kept."""
        whole = self._copy_with(without_reading(units, kept, self._layers))
        wanted = self._run(whole)
        try:
            found = self._run(cut_module(whole, units, kept))
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return False
        return are_near(found, wanted)

    def _run(self, model: nn.Module) -> dict[str, torch.Tensor]:
        returned = Runner(model, [], precise=self._precise).output(self._samples)
        return {name: returned[name] for name in self._outputs}
