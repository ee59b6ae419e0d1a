"""Units, channels and heads: few of them, the least error of all layers that read them."""

from .budget import solve_units_budget
from .budget_solution import UnitsBudgetSolution
from .budget_trace import UnitsTrace, trace_units_budget

__all__ = ["UnitsBudgetSolution", "UnitsTrace", "solve_units_budget", "trace_units_budget"]
