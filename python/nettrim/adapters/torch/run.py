"""Running modules: a copy in evaluation mode, and what arrives at some of its layers."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..._arrays import Array

__all__ = ["OUTPUT", "Arrival", "Runner", "evaluation", "first_tensor"]

BATCH = 256  # samples that pass at a time
OUTPUT = ""  # stands among the layers' names for the model's output
Heard = Callable[[str, torch.Tensor], None]


class Arrival(NamedTuple):
    """How samples arrive at a layer: along which axis, how many entries each."""

    axis: int
    entries: int


class Enough(BaseException):  # no Exception, which a module's own code may catch
    """Ends a run when everything wanted has been heard."""


class Runner:
    """A copy of a model through which data pass, in evaluation mode and without gradients.

    Parameters
    ----------
    model : torch.nn.Module
    names : sequence of str
        The layers at which it listens.
    precise : bool
        Whether parameters are made float64, so that the arithmetic is that of layer programs.

    Attributes
    ----------
    model : torch.nn.Module
    precise : bool
    layers : dict of str to torch.nn.Module
        The layers of the copy, by name.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], *, precise: bool) -> None:
        self.model = copy.deepcopy(model).eval()
        self.precise = precise
        if precise:
            self.model.double()
        self.layers = {name: self.model.get_submodule(name) for name in names}
        floats = (p for p in self.model.parameters() if p.is_floating_point())
        self._like = next(floats, torch.empty(0))

    def tensor(self, X: NDArray[Any]) -> torch.Tensor:
        """Return samples as the model takes them: in its precision; whole numbers stay whole."""
        dtype = torch.int64 if X.dtype.kind in "iu" else self._like.dtype
        return torch.tensor(X, dtype=dtype, device=self._like.device)

    def output(self, batch: torch.Tensor) -> torch.Tensor:
        """Run a batch to the end."""
        with evaluation():
            return first_tensor(self.model(batch))

    def arrivals(self, samples: Sequence[NDArray[Any]]) -> dict[str, Arrival | None]:
        """Find out which layers run and how samples arrive there, in the order of the calls.

        Parameters
        ----------
        samples : two ndarrays of shape (n_samples, ...)
            Of different lengths.

        Returns
        -------
        dict of str to Arrival or None
            Last the output. None for what runs more than once, or does not hold one sample after
            another.
        """
        first, second = (self._shapes(self.tensor(X)) for X in samples)
        counts = len(samples[0]), len(samples[1])
        return {
            name: _arrival(shapes, second.get(name, []), counts) for name, shapes in first.items()
        }

    def capture(self, X: NDArray[Any], wanted: Mapping[str, int]) -> dict[str, Array]:
        """Run data in batches and return what arrives at some layers.

        Parameters
        ----------
        X : ndarray of shape (n_samples, ...)
        wanted : mapping of str to int
            Names of layers, or `OUTPUT`, and the axes of the samples there.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, ...)
            float64. Where the model merged samples with another axis, that is the second one.

        Raises
        ------
        ValueError
            If the model passes by a layer on some of the data.
        """
        held: dict[str, Array] = {}
        for first in range(0, len(X), BATCH):
            batch = X[first : first + BATCH]
            heard = self._heard(self.tensor(batch), wanted)
            if len(heard) < len(wanted):
                silent = sorted(wanted.keys() - heard.keys())
                last = first + len(batch) - 1
                raise ValueError(f"model does not call {silent} on samples {first} to {last}")
            for name, values in heard.items():
                if len(values) != len(batch):
                    values = values.reshape(len(batch), -1, *values.shape[1:])
                if name not in held:
                    held[name] = np.empty((len(X), *values.shape[1:]))
                held[name][first : first + len(batch)] = values
        return held

    def _shapes(self, batch: torch.Tensor) -> dict[str, list[tuple[int, ...]]]:
        """Return the shapes that arrive at each layer in turn, and last that of the output."""
        shapes: dict[str, list[tuple[int, ...]]] = {}

        def heard(name: str, values: torch.Tensor) -> None:
            shapes.setdefault(name, []).append(tuple(values.shape))

        with self._listening(self.layers, heard):
            heard(OUTPUT, self.output(batch))
        return shapes

    def _heard(self, batch: torch.Tensor, wanted: Mapping[str, int]) -> dict[str, Array]:
        """Run one batch as far as it takes."""
        found: dict[str, Array] = {}

        def heard(name: str, values: torch.Tensor) -> None:
            copied = values.detach().to("cpu", torch.float64, copy=True).numpy()
            found[name] = np.moveaxis(copied, wanted[name], 0)
            if len(found) == len(wanted):
                raise Enough

        layers = [name for name in wanted if name != OUTPUT]
        with contextlib.suppress(Enough), self._listening(layers, heard):
            output = self.output(batch)
            if OUTPUT in wanted:
                heard(OUTPUT, output)
        return found

    @contextlib.contextmanager
    def _listening(self, names: Any, heard: Heard) -> Iterator[None]:
        """Tell what arrives at some layers."""
        handles = [
            self.layers[name].register_forward_pre_hook(_hook(name, heard), with_kwargs=True)
            for name in names
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def first_tensor(value: Any) -> torch.Tensor:
    """Return what a model returned, or the first tensor in it."""
    if isinstance(value, torch.Tensor):
        return value
    parts = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, (Mapping, list, tuple)):
        for part in parts:
            if isinstance(part, torch.Tensor):
                return part
    raise TypeError(f"it returns {type(value).__name__} and no tensor")


def _hook(name: str, heard: Heard) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        heard(name, args[0] if args else kwargs["input"])

    return hook


def _arrival(
    first: list[tuple[int, ...]], second: list[tuple[int, ...]], counts: tuple[int, int]
) -> Arrival | None:
    """Compare the shapes for two numbers of samples."""
    if len(first) != 1 or len(second) != 1 or len(first[0]) != len(second[0]):
        return None
    pairs = list(zip(first[0], second[0], strict=True))
    moving = [axis for axis, (a, b) in enumerate(pairs) if a != b]
    if len(moving) != 1:
        return None
    a, b = pairs[moving[0]]
    if a * counts[1] != b * counts[0]:
        return None
    return Arrival(moving[0], int(np.prod(first[0])) // counts[0])


@contextlib.contextmanager
def evaluation() -> Iterator[None]:
    """Compute without gradients, and attention by the modules it is made of."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
