#!/usr/bin/env bash
# pyproximal 0.13.0, pylops 2.8.0: the proximal operators Huber and L0, each against the function that its own call
# evaluates, and against a minimiser found by a fine grid.
# Guess: prox(x, tau) minimises tau f(z) + (z - x)^2 / 2, as the base class defines it, so for a convex f it is monotone
# and never moves two points apart.
# Seen: Huber's chooses its formula by the size of x, not of the result. With parameter 1 and step 1, 0.98 goes to 0.49
# and 1.02 to 0.02: it falls where it must rise, and the steps do not minimise. HuberCircular, the same function for one
# number, is right. L0 cuts at tau sigma where sqrt(2 tau sigma) is the place: at step 0.02 it keeps what costs less as
# a zero, at step 8 it cuts what is worth keeping.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    pyproximal==0.13.0 pylops==2.8.0 numpy==2.4.6 scipy==1.17.1
"$work/env/bin/python" -W ignore - <<'PYTHON'
import numpy as np
from pyproximal import L0, L1, Huber, HuberCircular

grid = np.linspace(-10, 10, 200_001)  # zero is one of its points

def step(f, x, tau):
    """What prox answers, the best point of the grid, and how much more the answer costs."""
    def cost(z):
        return tau * float(f(np.array([z]))) + (z - x) ** 2 / 2
    if isinstance(f, (Huber, HuberCircular)):
        f_grid = np.where(abs(grid) <= 1, grid**2 / 2, abs(grid) - 0.5)
    else:
        f_grid = abs(grid) if isinstance(f, L1) else (grid != 0) * 1.0
    best = grid[np.argmin(tau * f_grid + (grid - x) ** 2 / 2)]
    answer = float(f.prox(np.array([x]), tau)[0])
    return answer, best, cost(answer) - cost(best)

excess = {}
for f, points in (
    (L1(), ((0.98, 1.0), (1.02, 1.0), (3.0, 1.0))),
    (HuberCircular(1.0), ((0.98, 1.0), (1.02, 1.0), (3.0, 1.0))),
    (Huber(1.0), ((0.98, 1.0), (1.02, 1.0), (3.0, 1.0))),
    (L0(1.0), ((0.15, 0.02), (5.0, 8.0), (1.0, 2.0))),
):
    name = type(f).__name__
    rows = [step(f, x, tau) for x, tau in points]
    excess[name] = [row[2] for row in rows]
    for (x, tau), (answer, best, more) in zip(points, rows):
        print(f"{name}: x {x}, tau {tau}: prox {answer:.2f}, minimiser {best:.2f}, costs {max(more, 0):.3f} more")
assert max(excess["L1"] + excess["HuberCircular"]) < 1e-6
low, high = (float(Huber(1.0).prox(np.array([x]), 1.0)[0]) for x in (0.98, 1.02))
assert high < low, "this has changed"
assert excess["Huber"][1] > 0.1 and excess["L0"][0] > 0.005 and excess["L0"][1] > 3, "this has changed"
PYTHON
