"""Competing methods, each in one file: the published one from its paper, the others from PyPI.

The solvers share `column`: ``solve(column, variant, tol, limit)`` answers for one output, with one
of the module's ``VARIANTS`` (forms and factorisations worth a try), at the solver's own tolerance.
The one-shot pruners share `quadratic`: ``prune(X, weights, keep, damp)``; `one_shot` lists them.
"""
