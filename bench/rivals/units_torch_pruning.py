"""Torch-Pruning (DepGraph, Fang et al., CVPR 2023): what it removes, as numbers of units.

``pip install torch-pruning``. It follows the couplings of a PyTorch module, ranks the units by the
L2 norms of all that goes with them or by first-order Taylor terms of a loss, and cuts out. It does
not fit the rest anew: users retrain. Taylor terms need labels, and are given those of the
calibration rows. One ratio holds for every layer, or one threshold for all of them
(``global_pruning``). Of attention it is told the number of heads, as in its own examples, and
removes whole ones. Layers of which no output can go are ignored.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import nettrim
from bench.networks.modules import module_of
from bench.networks.small_transformer import HEADS, Attention
from nettrim.models.model_view import as_view
from nettrim.models.units.unit_map import FIXED, UnitMap

Mask = NDArray[np.bool_]

STEPS = 12  # of a bisection


@dataclass(frozen=True)
class Pruner:
    """Torch-Pruning on a network, waiting for a ratio."""

    units: UnitMap
    module: torch.nn.Module
    layers: list[str]
    sample: torch.Tensor
    taylor: bool
    is_global: bool

    @classmethod
    def of(
        cls,
        net: nettrim.Network | torch.nn.Module,
        units: UnitMap,
        X: NDArray[np.float64],
        labels: NDArray[np.int64],
        taylor: bool,
        is_global: bool,
    ) -> Pruner:
        """Build the module and, for Taylor terms, the gradients of the cross entropy."""
        is_network = isinstance(net, nettrim.Network)
        module = module_of(net, X.shape[1:]) if is_network else copy.deepcopy(net)
        inputs = torch.from_numpy(X).float()
        if taylor:
            torch.nn.functional.cross_entropy(module(inputs), torch.from_numpy(labels)).backward()
        names = [layer.name for layer in as_view(net).prunable_layers()]
        return cls(units, module, names, inputs[:1], taylor, is_global)

    def kept(self, ratio: float) -> Mask:
        """Return the units that are left when this share of them is removed."""
        import torch_pruning  # no requirement of the other benchmarks

        module = self._copy()
        layers = [m for m in module.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
        shrink = {u.layer for u in self.units.layers if (u.outputs != FIXED).any()}
        heads = [m for m in module.modules() if isinstance(m, Attention)]
        scores = torch_pruning.importance
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruner = torch_pruning.pruner.BasePruner(
                module,
                self.sample,
                scores.GroupTaylorImportance()
                if self.taylor
                else scores.GroupMagnitudeImportance(p=2),
                global_pruning=self.is_global,
                pruning_ratio=ratio,
                max_pruning_ratio=0.97,
                num_heads={layer: HEADS for m in heads for layer in (m.q, m.k, m.v)},
                prune_num_heads=True,
                prune_head_dims=False,
                head_pruning_ratio=ratio,
                ignored_layers=[
                    layer
                    for layer, name in zip(layers, self.layers, strict=True)
                    if name not in shrink
                ],
            )
            gone = self._removed(pruner, layers)
        kept = np.ones(self.units.n_units, dtype=bool)
        kept[gone] = False
        for signal in self.units.signals:  # a layer without any is no network
            if not kept[signal.units].any():
                kept[signal.units[0]] = True
        return kept

    def _copy(self) -> torch.nn.Module:
        """Return a copy to be cut, with its gradients, which copies are without."""
        module = copy.deepcopy(self.module)
        for ours, theirs in zip(module.parameters(), self.module.parameters(), strict=True):
            ours.grad = None if theirs.grad is None else theirs.grad.clone()
        return module

    def _removed(self, pruner: Any, layers: list[torch.nn.Module]) -> list[int]:
        """Let it cut, and return the numbers of the units that go."""
        outputs = {layer.layer: layer.outputs for layer in self.units.layers}
        gone: set[int] = set()
        for group in pruner.step(interactive=True):
            for dependency, indices in group:
                writes = pruner.DG.is_out_channel_pruning_fn(dependency.handler)
                if writes and dependency.target.module in layers:
                    name = self.layers[layers.index(dependency.target.module)]
                    if name in outputs:
                        gone |= {int(outputs[name][k]) for k in indices}
            group.prune()
        return sorted(gone - {-1})


def below(kept: Callable[[float], Mask], units: UnitMap, most: float) -> Mask:
    """Return the units left at the smallest ratio that meets a number of operations."""
    low, high, best = 0.0, 1.0, kept(0.98)
    for _ in range(STEPS):
        ratio = (low + high) / 2
        found = kept(ratio)
        if units.operations(found) <= most:
            high, best = ratio, found
        else:
            low = ratio
    return best
