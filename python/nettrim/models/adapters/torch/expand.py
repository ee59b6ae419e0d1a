"""Modules that use weights directly, as equivalent ones made of linear layers.

In the copy of a model that runs, such a module is replaced by its expansion: what arrives at each
matrix can be heard, and the matrix is a layer like any other. The parts of an expansion hold views
of the weights, so that what is written to a part is written to the module it was made from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .layers import shared_parameters
from .outputs import named_tensors
from .prepare import copy_sharing_tensors

__all__ = ["ExpandedModel", "are_near", "expand", "expandable"]


class ExpandedModel(NamedTuple):
    """A model in which some modules are made of linear layers.

    Attributes
    ----------
    model : torch.nn.Module
        It shares its tensors with the model it was made from.
    names : frozenset of str
        The modules that were replaced.
    """

    model: nn.Module
    names: frozenset[str]

    @contextlib.contextmanager
    def compared(self, original: nn.Module) -> Iterator[set[str]]:
        """Collect the replaced modules that do not compute what they were made from.

        Parameters
        ----------
        original : torch.nn.Module
            A copy of the model without expansions, of the same precision, that is run meanwhile.
        """
        differing: set[str] = set()

        def compare(name: str) -> Callable[..., None]:
            def hook(_: nn.Module, args: Any, kwargs: Any, returned: Any) -> None:
                if not _computes(self.model.get_submodule(name), args, kwargs, returned):
                    differing.add(name)

            return hook

        modules = [(name, original.get_submodule(name)) for name in self.names]
        handles = [m.register_forward_hook(compare(n), with_kwargs=True) for n, m in modules]
        try:
            yield differing
        finally:
            for handle in handles:
                handle.remove()

    def reader(self, name: str) -> str:
        """Return the module that may read the weights of a layer: itself, or the one around it."""
        owner = name.rpartition(".")[0]
        around = self.model.get_submodule(owner)
        return owner if isinstance(around, RecurrentLayers) else name

    def is_followed_inside(self, name: str) -> bool:
        """Whether a layer is a part whose outputs go to others of the same module, and no ReLU."""
        prefixes = tuple(f"{replaced}." if replaced else "" for replaced in self.names)
        is_part = name not in self.names and name.startswith(prefixes)
        return is_part and not name.endswith(".out_proj")

    def feeds_itself(self, name: str) -> bool:
        """Whether what a layer puts out arrives there again, one step later."""
        return self.reader(name) != name and name.rpartition(".")[2].startswith("hh")


def expand(model: nn.Module, names: Collection[str] | None = None) -> ExpandedModel:
    """Replace modules of a model by their equivalents of linear layers.

    Parameters
    ----------
    model : torch.nn.Module
    names : collection of str, optional
        Which ones. Default all that have an equivalent.
    """
    if names is None:
        names = expandable(model)
    if not names:
        return ExpandedModel(model, frozenset())
    expanded = copy_sharing_tensors(model)
    replaced = {id(m): _expansion(m) for m in map(expanded.get_submodule, names)}
    for module in [*expanded.modules()]:
        for name, child in module._modules.items():
            module._modules[name] = replaced.get(id(child), child)
    return ExpandedModel(replaced.get(id(expanded), expanded), frozenset(names))


def expandable(model: nn.Module) -> list[str]:
    """Return the modules that have an equivalent, and that nothing else has a hold on."""
    shared = shared_parameters(model)
    return [
        name
        for name, module in model.named_modules()
        if _is_known(module)
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not any(id(p) in shared for p in module.parameters())
    ]


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
        self.q_proj, self.k_proj, self.v_proj = map(_linear, weights, biases)
        self.out_proj = _linear(given.out_proj.weight, given.out_proj.bias)

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


class RecurrentLayers(nn.Module):
    """`torch.nn.LSTM`, `GRU` or `RNN` with two layers for each of its own layers and directions.

    ``ih_l0`` is applied to the inputs and ``hh_l0`` to the hidden states, one step before. Both are
    called for what arrives there to be heard; the outputs are computed by PyTorch with the weights
    that the two have then, and again behind each call, as they may change during it.
    """

    def __init__(self, given: nn.RNNBase) -> None:
        super().__init__()
        self.mode, self.bidirectional = given.mode, given.bidirectional
        self.input_size, self.hidden_size = given.input_size, given.hidden_size
        self.num_layers, self.batch_first = given.num_layers, given.batch_first
        self.bias, self.dropout, self.proj_size = given.bias, given.dropout, given.proj_size
        for suffix in self._suffixes():
            for part in ("ih", "hh"):
                weight = getattr(given, f"weight_{part}{suffix}")
                bias = getattr(given, f"bias_{part}{suffix}") if given.bias else None
                self.add_module(f"{part}{suffix}", _linear(weight, bias))

    def flatten_parameters(self) -> None:
        """Do nothing: how weights lie in memory is no concern of the copy that runs."""

    def forward(self, input: torch.Tensor, hx: Any = None) -> tuple[torch.Tensor, Any]:
        """Compute what the module does in evaluation mode, for a batch of sequences."""
        initial = self._initial_states(input, hx)
        directions = 2 if self.bidirectional else 1
        values, last, outputs = input, [], []
        for number, suffix in enumerate(self._suffixes()):
            output, states = self._direction(
                suffix, values, tuple(state[number : number + 1] for state in initial)
            )
            last.append(states)
            outputs.append(output)
            if len(outputs) == directions:
                values, outputs = torch.cat(outputs, -1), []
        final = tuple(torch.cat(states) for states in zip(*last, strict=True))
        return values, final if self.mode == "LSTM" else final[0]

    def _suffixes(self) -> Iterator[str]:
        """Yield how the names of the weights of each layer and direction end."""
        for layer in range(self.num_layers):
            yield from (f"_l{layer}", f"_l{layer}_reverse")[: 2 if self.bidirectional else 1]

    def _initial_states(self, values: torch.Tensor, hx: Any) -> tuple[torch.Tensor, ...]:
        """Return the hidden states, and the cells of an LSTM, in front of the first step."""
        if hx is not None:
            return tuple(hx) if self.mode == "LSTM" else (hx,)
        count = self.num_layers * (2 if self.bidirectional else 1)
        n_samples = values.shape[0 if self.batch_first else 1]
        zeros = values.new_zeros(count, n_samples, self.hidden_size)
        return (zeros, zeros) if self.mode == "LSTM" else (zeros,)

    def _direction(
        self, suffix: str, values: torch.Tensor, initial: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Run one layer in one direction."""
        time, backwards = 1 if self.batch_first else 0, suffix.endswith("reverse")
        if backwards:
            values = values.flip(time)
        inputs, hidden = self.get_submodule(f"ih{suffix}"), self.get_submodule(f"hh{suffix}")
        inputs(values)
        output, _ = self._steps(inputs, hidden, values, initial)
        first = initial[0].movedim(0, time)
        hidden(torch.cat([first, output.narrow(time, 0, output.shape[time] - 1)], time))
        output, states = self._steps(inputs, hidden, values, initial)
        return output.flip(time) if backwards else output, states

    def _steps(
        self, inputs: Any, hidden: Any, values: torch.Tensor, initial: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Run the steps forwards; return all outputs and the last states."""
        weights = [inputs.weight, hidden.weight]
        if self.bias:
            weights += [inputs.bias, hidden.bias]
        options = (weights, self.bias, 1, 0.0, False, False, self.batch_first)
        if self.mode == "LSTM":
            computed = torch.lstm(values, initial, *options)
            return computed[0], (computed[1], computed[2])
        computed = STEPS[self.mode](values, initial[0], *options)
        return computed[0], (computed[1],)


class Experts(nn.Module):
    """A mixture of experts of the transformers library with a layer for each matrix of each expert.

    The library keeps the weights of all experts in two tensors of three axes. Here every expert
    sees all tokens, with zeros in place of those that are not routed to it: without a bias nothing
    comes of these, and they count in no program. What its second matrix is applied to is weighted
    as its outputs are in the sum.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        numbers = {k: v for k, v in vars(given).items() if isinstance(v, (bool, int, float))}
        self.__dict__.update(numbers)  # that the gate of some models depends on
        self.act_fn, self._gate = given.act_fn, type(given)._apply_gate
        self.gate_up_proj = nn.ModuleList(_linear(weight, None) for weight in given.gate_up_proj)
        self.down_proj = nn.ModuleList(_linear(weight, None) for weight in given.down_proj)

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted sum of what the experts make of the tokens routed to them."""
        # An index beyond the last expert stands for none.
        nowhere = top_k_weights.new_zeros(len(hidden_states), len(self.down_proj) + 1)
        shares = nowhere.scatter_add(1, top_k_index, top_k_weights)
        passed_by = nowhere.scatter(1, top_k_index, 1.0) == 0.0
        total = torch.zeros_like(hidden_states)
        for number, (first, second) in enumerate(
            zip(self.gate_up_proj, self.down_proj, strict=True)
        ):
            values = self._gate(
                self, first(hidden_states.masked_fill(passed_by[:, number, None], 0.0))
            )
            total = total + second(values * shares[:, number, None])
        return total


STEPS: Mapping[str, Callable[..., Any]] = {
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


def _is_known(module: nn.Module) -> bool:
    if type(module) is nn.MultiheadAttention:
        return module.bias_k is None and not module.add_zero_attn
    if type(module) in (nn.LSTM, nn.GRU, nn.RNN):
        return not module.proj_size
    return _is_transposed_linear(module) or _is_mixture(module)


def _is_transposed_linear(module: nn.Module) -> bool:
    """Whether a module is the linear layer of GPT-2, whose weight is (inputs, outputs)."""
    return type(module).__name__ == "Conv1D" and _is_of_transformers(module)


def _is_mixture(module: Any) -> bool:
    """Whether a module holds the weights of experts, (expert, outputs, inputs), and no biases."""
    return (
        _is_of_transformers(module)
        and {*module._parameters} == {"gate_up_proj", "down_proj"}
        and module.gate_up_proj.dim() == module.down_proj.dim() == 3
        and not getattr(module, "is_transposed", True)
        and hasattr(module, "act_fn")
    )


def _is_of_transformers(module: nn.Module) -> bool:
    """Whether the transformers library, which need not be there, has a module's class."""
    return type(module).__module__.partition(".")[0] == "transformers"


def _expansion(module: Any) -> nn.Module:
    if isinstance(module, nn.MultiheadAttention):
        return Attention(module)
    if isinstance(module, nn.RNNBase):
        return RecurrentLayers(module)
    if _is_mixture(module):
        return Experts(module)
    return _linear(module.weight.t(), module.bias)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """Return a layer that holds these tensors, and no copies of them."""
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


def _computes(module: nn.Module, args: Any, kwargs: Any, returned: Any) -> bool:
    """Whether a module returns the same for these arguments, up to rounding."""
    try:
        computed = module(*args, **kwargs)
    except Exception:  # noqa: BLE001 (for arguments that it does not know)
        return False
    return are_near(named_tensors(computed), named_tensors(returned))


def are_near(computed: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether tensors are the same by name, up to rounding in their own precision."""
    return computed.keys() == wanted.keys() and all(
        _is_near(computed[name], x) for name, x in wanted.items()
    )


def _is_near(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    sizes = other[other.isfinite()].abs()
    largest = float(sizes.max()) if sizes.numel() else 0.0
    near = torch.finfo(one.dtype).eps ** 0.5 * largest
    return torch.allclose(one, other, rtol=0.0, atol=near, equal_nan=True)


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
