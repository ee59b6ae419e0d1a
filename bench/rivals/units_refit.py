"""Units that a rival keeps, with nettrim's refit of the layers in place of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nettrim
from nettrim.models.units.unit_map import UnitMap
from nettrim.trimming.goals.goal import Goal
from nettrim.trimming.methods.method import Run
from nettrim.trimming.methods.to_units import ToUnits

Mask = NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class GivenUnits(Goal):
    """A network of the units that somebody else chose."""

    kept: Mask
    shortcuts = ()

    def check(self, scheme: str, pool: Any) -> None:
        """Take anything."""

    def method(self, run: Run, scheme: str, pool: Any) -> _Given:
        method = _Given(run, scheme == "cascade", "operations", 1.0, 1, 1, 1)
        method.kept = self.kept
        return method

    def arguments(self, scheme: str) -> dict[str, Any]:
        return {"scheme": scheme, "kept": np.flatnonzero(self.kept).tolist()}


class _Given(ToUnits):
    """nettrim's method without its choice."""

    def prepare(self) -> None:
        found = self.run.view.find_units(self.run.data[:2])
        assert isinstance(found, UnitMap)
        self.units = found


def refitted(net: Any, X: NDArray[np.float64], kept: Mask, n_threads: int) -> Any:
    """The network of these units, its layers fitted anew by nettrim."""
    return nettrim.trim(net, X, GivenUnits(kept), n_threads=n_threads, progress=False).model
