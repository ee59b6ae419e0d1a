"""The view of a module whose weights stay in files: none are held, and answers are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from ...layer_view import Affine
from ...samples import Data
from ...units.unit_map import UnitMap
from .expansions.expand import expand
from .layers import StoredAffine, write
from .model import TorchView
from .shards import ResultFolder, check_result_place, map_weights
from .stored import StoredRunner

__all__ = ["ShardedView"]


class ShardedView(TorchView):
    """The view of a module whose weights are mapped from files.

    The system reads them where they are used, and takes their memory back when it is short of it.
    No copies are held, and answers are written to the files of another folder, which appears when
    `with_weights` is called.

    Parameters
    ----------
    model : torch.nn.Module
        What `map_weights` returned.
    source : pathlib.Path
        The folder of its files.
    into : pathlib.Path or None
        The folder of the result, which is not there yet. None where nothing is trimmed.
    """

    def __init__(self, model: nn.Module, source: Path, into: Path | None = None) -> None:
        self._source, self._into = source, into
        self._result: tuple[ResultFolder, nn.Module] | None = None
        self._answers: dict[int, StoredAffine] = {}  # what is written, by position
        super().__init__(model, kind=StoredRunner)
        if self.model is not model:
            raise ValueError(
                "model computes weights from others (masks, norms), or is in a wrapper: its files "
                "do not hold what is pruned"
            )

    @classmethod
    def open(cls, model: nn.Module, source: Path, into: Path) -> ShardedView:
        """Give a model, whose parameters may be on the meta device, the weights of a folder.

        Raises
        ------
        FileNotFoundError, ValueError
            See `map_weights` and `check_result_place`.
        """
        check_result_place(into)
        return cls(map_weights(model, source), source, into)

    def keep(self, position: int, affine: Affine) -> Affine:
        """Write the answer for a layer to its file, and return it as it is read from there."""
        place, (_, result) = self._places[position], self._writable()
        layer = result.get_submodule(place.layer.name)
        write(layer, affine, place.scale)
        self._answers[position] = StoredAffine.of(place.layer.name, layer, place.norm)
        return self._answers[position]

    def with_weights(self, weights: Mapping[int, Affine]) -> nn.Module:
        """Complete the folder of the result, and return a module with the weights that are there.

        Raises
        ------
        ValueError
            If there is something in its place by now.
        """
        folder, _ = self._writable()
        for position in self._answers.keys() - weights.keys():  # of a run that failed
            original = self._running.layers[self._places[position].layer.name]
            self._answers.pop(position).layer.load_state_dict(original.state_dict())
        for position, affine in weights.items():
            if affine is not self._answers.get(position):
                self.keep(position, affine)
        folder.complete()
        self._result = None
        return map_weights(self.model, self._place_of_result())

    def find_units(self, X: Data) -> UnitMap | None:
        """Tell nothing of units: the files of the result have tensors of the same shapes."""
        return None

    def view_of(self, model: nn.Module) -> TorchView:
        """Return the view of a module that `with_weights` returned."""
        return ShardedView(model, self._place_of_result())

    def _writable(self) -> tuple[ResultFolder, nn.Module]:
        """Return the folder of the result, and a module that writes to it."""
        if self._result is None:
            folder = ResultFolder(self._source, self._place_of_result())
            module = map_weights(self.model, folder.path, writable=True)
            self._result = folder, expand(module, self._running.expanded.names).model
            self._answers.clear()
        return self._result

    def _place_of_result(self) -> Path:
        if self._into is None:
            raise ValueError("model is a result, which has no folder to be trimmed into")
        return self._into
