"""Sparse networks by convex optimisation, every answer with its proof."""

from ._dispatch import build_info
from .accuracy import Accuracy
from .budget import BudgetSolution, BudgetTrace, solve_layer_budget, trace_budget
from .errors import (
    CalibrationWarning,
    ConvergenceWarning,
    InfeasibleError,
    LargeErrorWarning,
    RuntimeMismatchWarning,
)
from .export import Export, load_weights
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
from .report import LayerReport, OutputReport, TrimResult
from .samples import Samples
from .shrink import shrink
from .solution import LayerProgress, LayerSolution
from .trace import LayerTrace, trace
from .trim import trim
from .view import Untouched

__version__ = "0.1.0"

__all__ = [
    "Accuracy",
    "AveragePool",
    "BatchNorm",
    "BudgetSolution",
    "BudgetTrace",
    "CalibrationWarning",
    "Conv1D",
    "Conv2D",
    "ConvergenceWarning",
    "Dense",
    "Export",
    "Flatten",
    "GlobalAveragePool",
    "HullProgress",
    "HullSolution",
    "ImageSeparation",
    "InfeasibleError",
    "LargeErrorWarning",
    "LayerProgress",
    "LayerReport",
    "LayerSolution",
    "LayerTrace",
    "MaxPool",
    "Network",
    "OutputReport",
    "ReLU",
    "Residual",
    "RuntimeMismatchWarning",
    "Samples",
    "SignCheck",
    "TrimResult",
    "Untouched",
    "branch_hull",
    "build_info",
    "check_signs",
    "is_recoverable",
    "load_weights",
    "recovery_odds",
    "separate_image",
    "shrink",
    "solve_layer",
    "solve_layer_budget",
    "trace",
    "trace_budget",
    "trim",
]
