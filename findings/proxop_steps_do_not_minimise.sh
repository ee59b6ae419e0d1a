#!/usr/bin/env bash
# proxop 1.0.6 (the proximity operators of proximity-operator.net): prox(x, gamma) of seven functions of one number
# against the best point of a fine grid under gamma f(z) + (z - x)^2 / 2, f being what the object's own call evaluates.
# Guess: each is the minimiser, as the documentation says: what a proximity operator is.
# Seen: AbsValue's and Huber's do. SquaredHinge takes the bounds of the plain hinge, so that all of [1 - gamma, 1] goes
# to 1. FairPotential lacks a term below its square root: 0.1 goes to -0.33 at gamma 0.5, over zero, which no proximity
# operator of an even function does. CapL1 adds up what are alternatives: 6 goes to 11.5, away from all that it weighs.
# Hyperbolic halves a number where its Newton iteration fails: 6 goes to 3 where 5.5 is right. LogSum cuts the step of
# one number to an integer, and raises for an array of more. Nothing else is said, and a descent built on one of them
# ends elsewhere.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check proxop==1.0.6 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from proxop import AbsValue, CapL1, FairPotential, Huber, Hyperbolic, LogSum, SquaredHinge

grid = np.linspace(-12, 12, 240_001)

# each f written out, and asserted to be what the object's call evaluates
functions = {
    AbsValue(): abs,
    Huber(1.0): lambda z: np.where(abs(z) <= 1, z**2 / 2, abs(z) - 0.5),
    SquaredHinge(): lambda z: np.maximum(1 - z, 0) ** 2,
    FairPotential(): lambda z: abs(z) - np.log1p(abs(z)),
    CapL1(): lambda z: np.minimum(abs(z), 1),
    Hyperbolic(0.5): lambda z: np.sqrt(z**2 + 0.25),
    LogSum(0.5): lambda z: np.log(0.5 + abs(z)),
}
gamma = 0.5
excess, steps = {}, {}
for operator, f in functions.items():
    name = type(operator).__name__
    for x in (-6.0, -2.5, 0.1, 0.3, 0.6, 2.5, 6.0):
        assert np.isclose(operator(np.array([x])), f(x))
        answer = float(operator.prox(np.array([x]), gamma)[0])
        costs = [gamma * f(z) + (z - x) ** 2 / 2 for z in (answer, grid)]
        steps[name, x] = answer
        excess.setdefault(name, []).append(costs[0] - costs[1].min())
        if excess[name][-1] > 1e-3:
            best = grid[costs[1].argmin()]
            print(f"{name}: {x} goes to {answer:.3f}, best {best:.3f}, costs {excess[name][-1]:.3f} more")
worst = {name: max(values) for name, values in excess.items()}
assert max(worst.pop("AbsValue"), worst.pop("Huber")) < 1e-6
assert min(worst.values()) > 0.01, "this has changed"
seen = [steps[case] for case in (("SquaredHinge", 0.6), ("FairPotential", 0.1), ("CapL1", 6), ("Hyperbolic", 6))]
assert np.allclose(seen, [1, -0.326, 11.5, 3], atol=1e-3), "this has changed"
try:
    LogSum(0.5).prox(np.array([2.5, 6.0, -6.0]), gamma)
    raised = False
except IndexError as error:
    raised = True
    print("LogSum of an array:", error)
assert raised, "this has changed"
PYTHON
