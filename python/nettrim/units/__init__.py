"""Units, channels and heads: few of them, the least error of all layers that read them."""

from .budget import solve_units_budget
from .budget_solution import UnitsBudgetSolution
from .budget_trace import UnitsTrace, trace_units_budget
from .solution import UnitsSolution
from .solve import solve_units, trace_units

__all__ = [
    "UnitsBudgetSolution",
    "UnitsSolution",
    "UnitsTrace",
    "solve_units",
    "solve_units_budget",
    "trace_units",
    "trace_units_budget",
]
