"""Running modules: a copy in evaluation mode, and what arrives at some of its layers."""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ....base.arrays import Array
from ....base.dispatch import core
from ...layer_view import Affine
from ...samples import Data, Samples
from .hooks import hooks_in_front
from .layers import write
from .outputs import named_tensors
from .prepare import copy_model

__all__ = [
    "Arrival",
    "Exit",
    "Runner",
    "Stop",
    "evaluation",
    "join_batches",
    "layer_names",
    "row_axis",
]

BATCH = 256  # samples that pass at a time
MOST_BATCHES = 32  # each may wait in a thread of its own, with threads of PyTorch's behind it


class Exit(NamedTuple):
    """An output of a model, where it stands among the layers that are hooked."""

    name: str


Stop: TypeAlias = str | Exit
OnInput = Callable[[Stop, torch.Tensor], None]
Call = tuple[list[torch.Tensor], dict[str, torch.Tensor]]  # arguments by position, and by name


class Arrival(NamedTuple):
    """How samples arrive at a layer.

    Attributes
    ----------
    axis : int
        Along which they do.
    entries : int
        How many each has, equally many in every call; of rows that the model picks, each row.
    n_calls : int
        How often the layer is called in a pass; of such rows, at most.
    row : tuple of int
        The shape of a row: of features, or of channels and positions.
    is_picked : bool
        Whether the model picks the rows (see `nettrim.models.picked_rows`).
    """

    axis: int
    entries: int
    n_calls: int = 1
    row: tuple[int, ...] = ()
    is_picked: bool = False

    @property
    def is_repeated(self) -> bool:
        """Whether the layer is called more than once."""
        return self.n_calls > 1


class Runner:
    """A copy of a model through which data pass, in evaluation mode and without gradients.

    Parameters
    ----------
    model : torch.nn.Module
    names : sequence of str
        The layers whose inputs are captured.
    precise : bool
        Whether parameters are made float64, so that the arithmetic is that of layer programs.
    fast : bool, default False
        Whether the model may take the fused ways through its own code that its users' calls take.

    Attributes
    ----------
    model : torch.nn.Module
    precise : bool
    stored : bool
        Whether its weights stay where the model has them, so that there is no copy of them.
    layers : dict of str to torch.nn.Module
        The layers of the copy, by name.
    batch : int or None
        How many samples pass at a time; None for all, where a model mixes them.
    """

    stored: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, names: Sequence[str], *, precise: bool, fast: bool = False
    ) -> None:
        self.precise, self._original = precise, model
        self.model = self._copied(model).eval()
        self.batch: int | None = BATCH
        self._fast = fast
        self.layers = {name: self.model.get_submodule(name) for name in names}
        floats = (p for p in self.model.parameters() if p.is_floating_point())
        self._like = next(floats, torch.empty(0))

    @property
    def shown(self) -> Runner:
        """The runner of the same model, of tensors as PyTorch knows them: its code is followed."""
        return self

    @property
    def tried_in(self) -> torch.dtype | None:
        """In which type activations are to be tried, where `shown` does not have it."""
        return torch.float64 if self.precise and not self.shown.precise else None

    def load(self, name: str, affine: Affine | None, scale: Array | None) -> None:
        """Let a layer compute with other weights, or with its own again.

        Parameters
        ----------
        name : str
        affine : Affine or None
            None for those that the model has.
        scale : ndarray of shape (n_outputs,) or None
            See `nettrim.models.adapters.torch.layers.write`.
        """
        if affine is None:
            self.layers[name].load_state_dict(self._original.get_submodule(name).state_dict())
        else:
            write(self.layers[name], affine, scale)

    def call(self, X: Data) -> Call:
        """Return samples as the model takes them: in its precision; whole numbers stay whole."""
        if not isinstance(X, Samples):
            return [self._tensor(X)], {}
        inputs = {k: self._tensor(v) for k, v in [*X.arrays.items(), *X.shared.items()]}
        by_position = sorted((k for k in inputs if k.isdecimal()), key=int)
        return [inputs.pop(k) for k in by_position], inputs

    def given(self, X: Data) -> dict[str, torch.Tensor]:
        """Return samples by the names of the model's arguments."""
        arguments, by_name = self.call(X)
        return dict(inspect.signature(self.model.forward).bind(*arguments, **by_name).arguments)

    def output(self, X: Data) -> dict[str, torch.Tensor]:
        """Run a batch to the end and return all tensors that come out."""
        with evaluation(fast=self._fast):
            return self.forward(X)

    def forward(self, X: Data) -> dict[str, torch.Tensor]:
        """Do the same, within `evaluation`."""
        arguments, by_name = self.call(X)
        return named_tensors(self.model(*arguments, **by_name))

    def arrivals(self, samples: Sequence[Data]) -> dict[Stop, Arrival | None]:
        """Find out which layers run and how samples arrive there, in the order of the calls.

        Parameters
        ----------
        samples : two arrays or Samples
            Of different lengths.

        Returns
        -------
        dict of str or Exit to Arrival or None
            In the order of their first calls; last the outputs of floats. None for what meets some
            samples more often than others, differs in shape from call to call, or does not hold one
            sample after another.
        """
        first, second = (self._shapes(X) for X in samples)
        counts = len(samples[0]), len(samples[1])
        return {
            stop: _arrival(shapes, second.get(stop, []), counts, self._row_axis(stop))
            for stop, shapes in first.items()
        }

    def outputs(self, X: Data, axes: Mapping[Exit, int]) -> dict[Exit, Array]:
        """Run data in batches and return some of what comes out.

        Parameters
        ----------
        X : ndarray of shape (n_samples, ...) or Samples
        axes : mapping of Exit to int
            The axes of the samples there.

        Returns
        -------
        dict of Exit to ndarray of shape (n_samples, ...)
            float64. Where the model merged samples with another axis, that is the second one.

        Raises
        ------
        ValueError
            If an output is missing on some of the data.
        """
        batches = self.batches(len(X))
        found = [self.output(X[batch]) for batch in batches]
        return {
            stop: join_batches(batches, stop, (own.get(stop.name) for own in found), axis)
            for stop, axis in axes.items()
        }

    def inputs_of_calls(self, X: Data, axes: Mapping[str, int]) -> dict[str, Array]:
        """Run data to the end, and return what arrives at layers in all of their calls.

        Parameters
        ----------
        X : ndarray of shape (n_samples, ...) or Samples
        axes : mapping of str to int
            Of the samples at each of the layers.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, ..., n_calls, ...)
            float64. The calls are in front of what a layer takes at once: features, or channels and
            positions.

        Raises
        ------
        ValueError
            If some of the data meet a layer more often than others.
        """
        batches = self.batches(len(X))
        calls: dict[str, list[torch.Tensor]] = {name: [] for name in axes}
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in axes}

        def on_input(stop: Stop, values: torch.Tensor) -> None:
            # What is met may be overwritten later.
            calls[str(stop)].append(values.to("cpu", torch.float64, copy=True))

        with self.hooked(axes, on_input):
            for batch in batches:
                self.output(X[batch])
                for name, met in calls.items():
                    parts[name].append(torch.stack(met, self.axes_in_front(name, met[0].dim())))
                    met.clear()
        joined = {}
        for name, axis in axes.items():
            own = parts.pop(name)
            if len({part.shape[self.axes_in_front(name, part.dim()) - 1] for part in own}) > 1:
                raise ValueError(f"model calls {name!r} more often on some samples than on others")
            joined[name] = join_batches(batches, name, own, axis)
        return joined

    def axes_in_front(self, name: str, n_axes: int) -> int:
        """Return how many axes of a layer's input come in front of what it takes at once."""
        weight: torch.Tensor = self.layers[name].get_parameter("weight")
        return n_axes - (weight.dim() - 1)

    def batches(self, n_samples: int) -> list[slice]:
        """Return which samples pass at a time."""
        size = max(self.batch, math.ceil(n_samples / MOST_BATCHES)) if self.batch else n_samples
        return [slice(k, min(k + size, n_samples)) for k in range(0, n_samples, size)]

    def _row_axis(self, stop: Stop) -> int:
        return row_axis(None if isinstance(stop, Exit) else self.layers[stop])

    def _copied(self, model: nn.Module) -> nn.Module:
        """Return the copy that runs."""
        copied: nn.Module = copy_model(model)
        return copied.double() if self.precise else copied

    def _tensor(self, X: NDArray[Any]) -> torch.Tensor:
        kinds = {"b": torch.bool, "i": torch.int64, "u": torch.int64}
        dtype = kinds.get(X.dtype.kind, self._like.dtype)
        return torch.tensor(X, dtype=dtype, device=self._like.device)

    def _shapes(self, batch: Data) -> dict[Stop, list[tuple[int, ...]]]:
        """Return the shapes that arrive at each layer in turn, and last those of the outputs."""
        shapes: dict[Stop, list[tuple[int, ...]]] = {}

        def on_input(stop: Stop, values: torch.Tensor) -> None:
            shapes.setdefault(stop, []).append(tuple(values.shape))

        with self.hooked(self.layers, on_input):
            for name, values in self.output(batch).items():
                if values.is_floating_point():
                    on_input(Exit(name), values)
        return shapes

    def hooked(self, names: Iterable[str], on_input: OnInput) -> AbstractContextManager[None]:
        """Tell what arrives at some layers."""
        return hooks_in_front((self.layers[name], _hook(name, on_input)) for name in names)


def row_axis(layer: nn.Module | None) -> int:
    """Return the first axis of a row in what arrives at a layer: of features, or of channels."""
    return -1 if isinstance(layer, nn.Linear) else 1


def layer_names(stops: Iterable[Stop]) -> list[str]:
    """Return the layers among some stops."""
    return [stop for stop in stops if isinstance(stop, str)]


def join_batches(
    batches: Sequence[slice], stop: Stop, parts: Iterable[torch.Tensor | None], axis: int
) -> Array:
    """Return what arrived at a stop for all samples, which are along an axis there.

    Raises
    ------
    ValueError
        If it is missing for some of them, or does not belong to all of them alike.
    """
    joined: Array | None = None
    for batch, tensor in zip(batches, parts, strict=True):
        count = batch.stop - batch.start
        if tensor is None:
            what = f"return {stop.name!r}" if isinstance(stop, Exit) else f"call {stop!r}"
            raise ValueError(
                f"model does not {what} in its turn on samples {batch.start} to {batch.stop - 1}"
            )
        values = np.moveaxis(tensor.detach().to("cpu", torch.float64).numpy(), axis, 0)
        if not len(values) or len(values) % count:
            raise ValueError(
                f"model sends other rows to {stop!r} once layers in front of it are trimmed, which "
                "of these samples alone could not be told; name it, or them, in skip"
            )
        if len(values) != count:
            values = values.reshape(count, -1, *values.shape[1:])
        if joined is None:
            joined = np.empty((batches[-1].stop, *values.shape[1:]))
        joined[batch] = values
    assert joined is not None
    return joined


def _hook(name: str, on_input: OnInput) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        on_input(name, args[0] if args else kwargs["input"])

    return hook


def _arrival(
    first: list[tuple[int, ...]],
    second: list[tuple[int, ...]],
    counts: tuple[int, int],
    row_axis: int,
) -> Arrival | None:
    """Compare the shapes for two numbers of samples, which are to be those of every call."""
    if len(first) != len(second) or len({*first}) != 1 or len({*second}) != 1:
        return None
    if len(first[0]) != len(second[0]):
        return None
    pairs = list(zip(first[0], second[0], strict=True))
    moving = [axis for axis, (a, b) in enumerate(pairs) if a != b]
    if len(moving) != 1:
        return None
    a, b = pairs[moving[0]]
    if a * counts[1] != b * counts[0]:
        return None
    entries = int(np.prod(first[0])) // counts[0]
    row = first[0][row_axis:]
    return Arrival(moving[0], entries, len(first), row) if entries else None


@contextlib.contextmanager
def evaluation(*, fast: bool = False) -> Iterator[None]:
    """Compute without gradients and compiled code, and attention by the modules it is made of.

    In a forked child with one thread: PyTorch would wait for those of its parent for ever.
    """
    if not core.may_start_threads():
        torch.set_num_threads(1)
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled and fast)
    try:
        with torch.no_grad(), _uncompiled():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute in so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _uncompiled() -> contextlib.AbstractContextManager[Any]:
    """Let what was given to torch.compile run as it is written, if anything can have been."""
    stance = getattr(torch.compiler, "set_stance", None)
    if stance is None or "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    context: contextlib.AbstractContextManager[Any] = stance("force_eager")
    return context
