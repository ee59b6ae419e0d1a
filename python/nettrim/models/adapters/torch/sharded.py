"""The view of a module whose weights stay in files: none are held, and answers are written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import nn

from ...model_view import Affine
from ...samples import Data
from .expansions.expand import expand
from .layers import layer_view, write
from .model import TorchView
from .run import Arrival, Stop
from .shards import ResultFolder, check_result_place, map_weights
from .stored import StoredRunner

__all__ = ["ShardedView"]


class _Answer(NamedTuple):
    """A layer of the result, and the weights that are written there."""

    affine: Affine
    layer: nn.Module


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

    _runs = StoredRunner
    _stored: ClassVar[bool] = True
    _runner: StoredRunner

    def __init__(self, model: nn.Module, source: Path, into: Path | None = None) -> None:
        self._source, self._into = source, into
        self._result: tuple[ResultFolder, nn.Module] | None = None
        self._answers: dict[int, _Answer] = {}
        super().__init__(model)
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
        kept = layer_view(place.layer.name, layer, norm=place.norm, stored=True).affine
        self._answers[position] = _Answer(kept, layer)
        return kept

    def with_weights(self, weights: Mapping[int, Affine]) -> nn.Module:
        """Complete the folder of the result, and return a module with the weights that are there.

        Raises
        ------
        ValueError
            If there is something in its place by now.
        """
        folder, _ = self._writable()
        for position in self._answers.keys() - weights.keys():  # of a run that failed
            original = self._modules[self._places[position].layer.name]
            self._answers.pop(position).layer.load_state_dict(original.state_dict())
        for position, affine in weights.items():
            if position not in self._answers or affine is not self._answers[position].affine:
                self.keep(position, affine)
        folder.complete()
        self._result = None
        return map_weights(self.model, self._place_of_result())

    def view_of(self, model: nn.Module) -> TorchView:
        """Return the view of a module that `with_weights` returned."""
        return ShardedView(model, self._place_of_result())

    def _copy(self, *, precise: bool) -> None:
        """Show a copy in the precision of the weights, whose tensors are as PyTorch knows them."""
        super()._copy(precise=precise)
        if precise:
            self._shown = self._runs(self._expanded.model, list(self._modules), precise=False)

    def _try(self, samples: list[Data], name: str) -> dict[Stop, Arrival | None]:
        """Run samples in float64 where that can be, and as the module is."""
        arrivals = super()._try(samples, name)
        try:
            self._shown.output(samples[0])
        except Exception as error:
            raise ValueError(
                f"{name} does not pass through the model in the precision of its files: {error}"
            ) from error
        return arrivals

    def _load(self, position: int, affine: Affine | None) -> None:
        """Let the running copy compute with the weights of the moment, wherever they are."""
        if affine is self._loaded.get(position):
            return
        name = self._places[position].layer.name
        if affine is None:
            self._runner.exchange(name, self._modules[name])
            del self._loaded[position]
        else:
            self._runner.exchange(name, self._layer_with(position, affine))
            self._loaded[position] = affine

    def _layer_with(self, position: int, affine: Affine) -> nn.Module:
        """Return a layer with some weights: of the result, if they are written there."""
        answer, place = self._answers.get(position), self._places[position]
        if answer is not None and affine is answer.affine:
            return answer.layer
        layer = copy.deepcopy(self._modules[place.layer.name])
        write(layer, affine, place.scale)
        return layer

    def _writable(self) -> tuple[ResultFolder, nn.Module]:
        """Return the folder of the result, and a module that writes to it."""
        if self._result is None:
            folder = ResultFolder(self._source, self._place_of_result())
            module = map_weights(self.model, folder.path, writable=True)
            self._result = folder, expand(module, self._expanded.names).model
            self._answers.clear()
        return self._result

    def _place_of_result(self) -> Path:
        if self._into is None:
            raise ValueError("model is a result, which has no folder to be trimmed into")
        return self._into
