"""Layers at a given sparsity: few weights, the least error behind the ReLU."""

from .layer import BudgetTrace, solve_layer_budget, trace_budget
from .solution import BudgetSolution

__all__ = ["BudgetSolution", "BudgetTrace", "solve_layer_budget", "trace_budget"]
