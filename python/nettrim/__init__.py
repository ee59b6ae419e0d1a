"""Sparse networks by convex optimisation, every answer with its proof."""

from .base.dispatch import build_info
from .base.errors import (
    CalibrationWarning,
    ConvergenceWarning,
    HeldOutWarning,
    InfeasibleError,
    LargeErrorWarning,
    PromiseWarning,
    RecoveryWarning,
    RuntimeMismatchWarning,
)
from .budget import BudgetSolution, BudgetTrace, solve_layer_budget, trace_budget
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
from .layer.gram import Gram
from .layer.path import LayerTrace, trace
from .layer.solution import LayerProgress, LayerSolution
from .layer.solve import solve_layer
from .models.layer_view import Untouched
from .models.network import (
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
from .models.network.shrink import shrink
from .models.samples import Samples
from .results.accuracy import Accuracy
from .results.export import Export, load_weights
from .results.latency import Latency
from .results.network_trace import NetworkTrace
from .results.outcome import LayerReport, Measured, OutputReport
from .results.promise import PathModel, PromiseReport
from .results.traced_path import TracePoint
from .results.trim_result import TrimResult
from .results.unseen import Unseen
from .results.widths import Widths
from .trimming.goals import Error, Goal, Promise, Sparsity, Units
from .trimming.trace_network import trace_network
from .trimming.trim import trim
from .units import (
    UnitsBudgetSolution,
    UnitsSolution,
    UnitsTrace,
    solve_units,
    solve_units_budget,
    trace_units,
    trace_units_budget,
)

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
    "Error",
    "Export",
    "Flatten",
    "GlobalAveragePool",
    "Goal",
    "Gram",
    "HeldOutWarning",
    "HullProgress",
    "HullSolution",
    "ImageSeparation",
    "InfeasibleError",
    "LargeErrorWarning",
    "Latency",
    "LayerProgress",
    "LayerReport",
    "LayerSolution",
    "LayerTrace",
    "MaxPool",
    "Measured",
    "Network",
    "NetworkTrace",
    "OutputReport",
    "PathModel",
    "Promise",
    "PromiseReport",
    "PromiseWarning",
    "ReLU",
    "RecoveryWarning",
    "Residual",
    "RuntimeMismatchWarning",
    "Samples",
    "SignCheck",
    "Sparsity",
    "TracePoint",
    "TrimResult",
    "Units",
    "UnitsBudgetSolution",
    "UnitsSolution",
    "UnitsTrace",
    "Unseen",
    "Untouched",
    "Widths",
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
    "solve_units",
    "solve_units_budget",
    "trace",
    "trace_budget",
    "trace_network",
    "trace_units",
    "trace_units_budget",
    "trim",
]
