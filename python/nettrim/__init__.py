"""Sparse networks by convex optimisation, every answer with its proof."""

from ._dispatch import build_info
from .errors import ConvergenceWarning, InfeasibleError
from .hull import (
    HullProgress,
    HullSolution,
    ImageSeparation,
    SignCheck,
    branch_hull,
    check_signs,
    is_recoverable,
    recovery_odds,
    separate_image,
)
from .layer import solve_layer
from .network import (
    AveragePool,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Network,
    ReLU,
    Residual,
)
from .report import LayerReport, TrimResult
from .solution import LayerProgress, LayerSolution
from .trace import LayerTrace, trace
from .trim import trim

__version__ = "0.1.0"

__all__ = [
    "AveragePool",
    "BatchNorm",
    "Conv1D",
    "Conv2D",
    "ConvergenceWarning",
    "Dense",
    "Flatten",
    "GlobalAveragePool",
    "HullProgress",
    "HullSolution",
    "ImageSeparation",
    "InfeasibleError",
    "LayerProgress",
    "LayerReport",
    "LayerSolution",
    "LayerTrace",
    "MaxPool",
    "Network",
    "ReLU",
    "Residual",
    "SignCheck",
    "TrimResult",
    "branch_hull",
    "build_info",
    "check_signs",
    "is_recoverable",
    "recovery_odds",
    "separate_image",
    "solve_layer",
    "trace",
    "trim",
]
