#!/usr/bin/env bash
# ModOpt 1.7.2: the proximity operator OrderedWeightedL1Norm (the penalty of SLOPE and OSCAR): its step, op, and the
# cost that ModOpt's algorithms sum up to watch a run and to stop it.
# Guess: cost is the function whose proximal step op is; the two come in one object.
# Seen: the step is right. The cost pairs the largest weight with the smallest value: with weights 1, 0, 0 the penalty
# is a maximum, and the cost is the minimum, zero as soon as one value is. With equal weights nothing shows; the costs
# of Ridge and the elastic net are right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    modopt==1.7.2 scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
"$work/env/bin/python" -W ignore - <<'PYTHON'
import contextlib
import io

import numpy as np
from modopt.opt.linear import Identity
from modopt.opt.proximity import ElasticNet, OrderedWeightedL1Norm, Ridge

x = np.array([3.0, -1.0, 0.5])

def ordered(weights):
    return lambda z: weights @ np.sort(abs(z))[::-1]

def quietly(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()):  # cost prints what it finds
        return function(*arguments)

def excess(operator, function):
    """How far another point is below the step's objective: none of a cloud around it and on the way to zero."""
    step = np.asarray(quietly(operator.op, x.copy(), 0.5))
    rng = np.random.default_rng(0)
    cloud = step + rng.standard_normal((20_000, 3)) * rng.choice([1e-3, 0.1, 1], (20_000, 1))
    cloud[::2] *= rng.integers(0, 2, (10_000, 3))
    objective = [0.5 * function(z) + np.sum((z - x) ** 2) / 2 for z in [step, *cloud]]
    return objective[0] - min(objective)

falling, single = np.array([2.0, 1.0, 0.5]), np.array([1.0, 0.0, 0.0])
cases = {
    "Ridge": (Ridge(Identity(), 1.0), lambda z: z @ z, True),
    "ElasticNet": (ElasticNet(Identity(), 1.0, 2.0), lambda z: z @ z + 2 * abs(z).sum(), True),
    "ordered, weights 1, 1, 1": (OrderedWeightedL1Norm(np.ones(3)), ordered(np.ones(3)), True),
    "ordered, weights 2, 1, 0.5": (OrderedWeightedL1Norm(falling), ordered(falling), False),
    "ordered, weights 1, 0, 0": (OrderedWeightedL1Norm(single), ordered(single), False),
}
for name, (operator, function, same) in cases.items():
    cost, above = float(quietly(operator.cost, x)), excess(operator, function)
    print(f"{name}: cost {cost:.4g}, the function {function(x):.4g}; its step is {above:.0e} above the least found")
    assert above < 1e-6, "the step itself has changed"
    assert np.isclose(cost, function(x)) == same, "this has changed"
PYTHON
