"""What operators of ONNX do with the units that they read.

A rule is told what is known of places and a node. It says where units lie behind the node, which
constants are cut with them and which have to stay, and returns whether it knows what the node does;
if not, the units that the node reads stay.
"""

from __future__ import annotations

import onnx

from ...graph import attributes
from ..places import UnitPlaces
from .along import (
    Rule,
    follow_argument,
    follow_positions,
    follow_reduction,
    follow_softmax,
    from_axis,
    takes_together,
)
from .entries import follow_entries, follow_operands
from .layers import follow_convolution, follow_dense, follow_normalisation, follow_transposed
from .parts import (
    follow_concatenation,
    follow_lookup,
    follow_slice,
    follow_split,
    follow_tiles,
)
from .shapes import (
    follow_depth_to_space,
    follow_expansion,
    follow_reshape,
    follow_space_to_depth,
    follow_squeeze,
    follow_stretch,
    follow_transpose,
    follow_unsqueeze,
)

__all__ = ["RULES"]


def _stop(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Let units be where a node makes nothing of them but their number, or reads none."""
    return True


_BEHIND_LAYERS = ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Gelu", "Mish")
_SIGMOIDS = ("Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Tanh", "Softplus", "Softsign", "Erf")
_SMOOTH = ("Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan")
_HYPERBOLIC = ("Sinh", "Cosh", "Asinh", "Acosh", "Atanh")
_STEPS = ("Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Shrink", "Not", "IsNaN", "IsInf")
_SAME = ("Identity", "Cast", "Dropout")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Sum", "Mean", "Max", "Min", "PRelu")
_CHOICES = ("Clip", "Where", "And", "Or", "Xor", "Equal", "CastLike")
_COMPARISONS = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")
_POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
_SAMPLED = ("GridSample", "RoiAlign")
_SUMS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum")
_NORMS = ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")

RULES: dict[str, Rule] = {
    **dict.fromkeys(["Gemm", "MatMul"], follow_dense),
    "Conv": follow_convolution,
    "ConvTranspose": follow_transposed,
    **dict.fromkeys(["BatchNormalization", "InstanceNormalization"], follow_normalisation),
    **dict.fromkeys([*_BEHIND_LAYERS, *_SIGMOIDS, *_SMOOTH, *_HYPERBOLIC], follow_entries),
    **dict.fromkeys([*_STEPS, *_SAME], follow_entries),
    **dict.fromkeys([*_ARITHMETIC, *_CHOICES, *_COMPARISONS], follow_operands),
    **dict.fromkeys(["Softmax", "LogSoftmax", "Hardmax"], follow_softmax),
    **dict.fromkeys(["LayerNormalization", "RMSNormalization"], takes_together(from_axis(-1))),
    "LpNormalization": takes_together(lambda node, _: [attributes(node).get("axis", -1)]),
    **dict.fromkeys([*_POOLS, *_SAMPLED], follow_positions),
    **dict.fromkeys([*_SUMS, *_NORMS], follow_reduction),
    **dict.fromkeys(["ArgMax", "ArgMin"], follow_argument),
    **dict.fromkeys(["Reshape", "Flatten"], follow_reshape),
    "Transpose": follow_transpose,
    "Squeeze": follow_squeeze,
    "Unsqueeze": follow_unsqueeze,
    "Expand": follow_expansion,
    **dict.fromkeys(["Resize", "Upsample", "Pad"], follow_stretch),
    "DepthToSpace": follow_depth_to_space,
    "SpaceToDepth": follow_space_to_depth,
    "Concat": follow_concatenation,
    "Split": follow_split,
    "Slice": follow_slice,
    "Gather": follow_lookup,
    "Tile": follow_tiles,
    **dict.fromkeys(["Shape", "Constant"], _stop),
}
