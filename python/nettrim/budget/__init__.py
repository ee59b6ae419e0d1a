"""Layers at a given sparsity: few weights, the least error behind the ReLU."""

from .solution import BudgetSolution
from .solve import solve_layer_budget
from .trace import BudgetTrace, trace_budget

__all__ = ["BudgetSolution", "BudgetTrace", "solve_layer_budget", "trace_budget"]
