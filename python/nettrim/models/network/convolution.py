"""Convolutional layers, of one or two axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...base.arguments import check_integer
from ...base.arrays import AnyFloat, Array, check_finite
from ..layer_view import Affine, LayerView
from ..unfold import Window
from .layer import PrunableLayer, check_activation, frozen_copy
from .shapes import Padding, Sizes, check_padding, check_sizes

__all__ = ["Conv1D", "Conv2D"]

SAME = "same"


class _Convolution(PrunableLayer):
    """What both kinds have in common; `Conv2D` has the documentation."""

    axes: ClassVar[int]

    def __init__(
        self,
        weights: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: Sizes = 1,
        padding: Padding | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        activation: str = "relu",
    ) -> None:
        weights = check_finite(weights, "weights", ndim=2 + self.axes)
        self.groups = check_integer(groups, "groups")
        if len(weights) % self.groups:
            raise ValueError(f"groups must divide the {len(weights)} outputs, got {groups}")
        if bias is not None:
            bias = check_finite(bias, "bias", ndim=1)
            if len(bias) != len(weights):
                raise ValueError(
                    f"bias must have one entry for each of the {len(weights)} outputs, "
                    f"got {len(bias)}"
                )
        self.weights = frozen_copy(weights)
        self.bias = None if bias is None else frozen_copy(bias)
        self.stride = check_sizes(stride, "stride", self.axes)
        self.dilation = check_sizes(dilation, "dilation", self.axes)
        self.padding: Any = SAME if padding == SAME else check_padding(padding, self.axes)
        self.activation = check_activation(activation)

    def __repr__(self) -> str:
        """Return sizes and activation."""
        size = "x".join(map(str, self.weights.shape[2:]))
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        outputs, inputs = len(self.weights), self.weights.shape[1] * self.groups
        return f"{type(self).__name__}({inputs} -> {outputs}, {size}{groups}, {self.activation})"

    @property
    def affine(self) -> Affine:
        """The kernels as columns, on patches; the bias is fixed.

        Why: docs/mathematics/layer.md#convolutions.
        """
        matrix = self.weights.reshape(len(self.weights), -1).T
        return Affine(matrix, self.bias, self.groups, fixed_bias=True)

    def with_affine(self, affine: Affine) -> _Convolution:
        """Return a convolution with these weights, all else as it is."""
        return type(self)(
            affine.weights.T.reshape(self.weights.shape),
            affine.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            activation=self.activation,
        )

    def window(self, shape: tuple[int, ...]) -> Window:
        """Return which inputs the kernel sees, for an input of a shape (n, channels, *size)."""
        channels = self.weights.shape[1] * self.groups
        if len(shape) != 2 + self.axes or shape[1] != channels:
            raise ValueError(
                f"{self!r} takes {channels} channels and {self.axes} axes, got {shape}"
            )
        kernel = self.weights.shape[2:]
        window = Window(kernel, self.stride, ((0, 0),) * self.axes, self.dilation)
        padding = _same(window, shape[2:]) if self.padding == SAME else self.padding
        return Window(kernel, self.stride, padding, self.dilation)

    def unfold(self, X: Array) -> Array:
        """Return the patches, one row for each position."""
        return self.window(X.shape).unfold(X)

    def view(self, name: str) -> LayerView:
        """Return what `nettrim.trim` needs to know of the layer."""
        return replace(super().view(name), unfold_some=self.unfold_some)

    def unfold_some(self, X: Array, rows: NDArray[np.intp]) -> Array:
        """Return some of the patches, by their numbers."""
        return self.window(X.shape).unfold_some(X, rows)

    def fold(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """Return rows as channels of the output."""
        positions = self.window(shape).positions(shape[2:])
        return np.moveaxis(rows.reshape(shape[0], *positions, -1), -1, 1)

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Bound the norm on inputs of this size (mathematics in `nettrim.models.unfold`)."""
        window = self.window(shape)
        kernels: list[AnyFloat] = np.split(self.weights, self.groups)
        return max(window.lipschitz(kernel, shape[2:]) for kernel in kernels)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return weights, geometry, activation and, if there is one, the bias."""
        arrays: dict[str, NDArray[Any]] = {
            "weights": self.weights,
            "stride": np.array(self.stride),
            "padding": np.array(self.padding),
            "dilation": np.array(self.dilation),
            "groups": np.array(self.groups),
            "activation": np.array(self.activation),
        }
        return arrays if self.bias is None else {**arrays, "bias": self.bias}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> _Convolution:
        """Build the layer from what `to_arrays` returned."""
        padding = arrays["padding"]
        return cls(
            arrays["weights"],
            arrays.get("bias"),
            stride=arrays["stride"].tolist(),
            padding=str(padding) if padding.ndim == 0 else padding.tolist(),
            dilation=arrays["dilation"].tolist(),
            groups=int(arrays["groups"]),
            activation=str(arrays["activation"]),
        )


def _same(window: Window, size: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Zeros that make the output ``ceil(size / stride)`` long, the odd one behind."""
    totals = [
        max((-(-n // s) - 1) * s + r - n, 0)
        for n, s, r in zip(size, window.stride, window.reach, strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)


class Conv1D(_Convolution):
    """A convolution along one axis: `Conv2D` with kernels of shape (n_outputs, n_inputs, length).

    Examples
    --------
    >>> import numpy as np
    >>> Conv1D(np.array([[[1.0, -1.0]]])).forward(np.array([[[1.0, 4.0, 2.0]]]))
    array([[[0., 2.]]])
    """

    kind: ClassVar[str] = "conv1d"
    axes: ClassVar[int] = 1


class Conv2D(_Convolution):
    """A convolutional layer, ``activation(cross-correlation + bias)``, channels before positions.

    Parameters
    ----------
    weights : array_like of shape (n_outputs, n_inputs / groups, height, width)
        float32 and other floats keep their precision, integers become float64. Copied.
    bias : array_like of shape (n_outputs,), optional
        None (the default) for a layer without a bias. `nettrim.trim` keeps it as it is.
    stride, dilation : int or sequence of int, default 1
        One number for all axes or one for each.
    padding : int, sequence, or "same", default 0
        Zeros around the input: for all axes, for each, or as a pair (before, behind) for each.
        "same" makes the output ``ceil(input / stride)`` long, the odd zero behind.
    groups : int, default 1
        Outputs of a group see the channels of that group alone; as many groups as channels make a
        depthwise convolution.
    activation : {"relu", "linear"}, default "relu"

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong shape or kind, is empty, or holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2D(np.ones((1, 1, 2, 2)), bias=[-1.0])
    >>> layer.forward(np.arange(9.0).reshape(1, 1, 3, 3))
    array([[[[ 7., 11.],
             [19., 23.]]]])
    """

    kind: ClassVar[str] = "conv2d"
    axes: ClassVar[int] = 2
