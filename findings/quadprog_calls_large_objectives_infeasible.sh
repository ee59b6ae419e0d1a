#!/usr/bin/env bash
# quadprog 0.1.14: least squares of 5 unknowns under 4 inequalities that zero meets strictly, so a feasible program; its
# whole objective times 1, 1e4, 1e8, 1e12, or its data as pixels of 0 to 255 for ever more samples.
# Guess: the minimiser stays where it is, as an active-set method is exact; whether constraints are consistent has
# nothing to do with the objective.
# Seen: at 1e8 nearly every program in which a constraint is active, at 1e12 every one, ends in "constraints are
# inconsistent, no solution"; those whose unconstrained minimiser is feasible are still answered. Thirty thousand
# samples of pixels are enough for it. Small objectives (1e-12) are exact, and dividing the large ones mends them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check quadprog==0.1.14 numpy==2.4.6
"$work/env/bin/python" - <<'PYTHON'
import numpy as np
import quadprog

def program(seed):
    rng = np.random.default_rng(seed)
    data, target = rng.standard_normal((8, 5)), rng.standard_normal(8)
    return data.T @ data, data.T @ target, rng.standard_normal((4, 5)), rng.random(4)

def answer(P, c, G, h, scale):
    """The minimiser of scale (x P x / 2 - c x) under G x <= h, or the refusal."""
    try:
        return quadprog.solve_qp(scale * P, scale * c, -G.T, -h)[0]
    except ValueError as error:
        return str(error)

outcomes = {}
for scale in (1e-12, 1, 1e4, 1e8, 1e12):
    count = {"the same minimiser": 0, "an active program called inconsistent": 0, "else": 0}
    for seed in range(100):
        P, c, G, h = program(seed)
        exact, seen = answer(P, c, G, h, 1), answer(P, c, G, h, scale)
        active = (G @ np.linalg.solve(P, c) > h).any()
        if isinstance(seen, str):
            count["an active program called inconsistent" if active and "inconsistent" in seen else "else"] += 1
        else:
            count["the same minimiser" if np.allclose(seen, exact, rtol=1e-6, atol=1e-8) else "else"] += 1
    outcomes[scale] = count
    print(f"times {scale:g}:", ", ".join(f"{number} {name}" for name, number in count.items() if number))

rng = np.random.default_rng(0)
for samples in (100, 1000, 30_000):
    pixels = rng.integers(0, 256, (samples, 5)).astype(float)
    target = pixels @ np.array([0.5, 0.4, 0.1, -0.1, 0.0])
    seen = [answer(pixels.T @ pixels, pixels.T @ target, -np.eye(5), np.zeros(5), scale) for scale in (1, 1 / samples)]
    told = [result if isinstance(result, str) else np.round(abs(result), 3).tolist() for result in seen]
    print(f"{samples} samples of pixels, x >= 0: {told[0]}; of their mean: {told[1]}")
assert outcomes[1e-12] == outcomes[1e4] == outcomes[1] and outcomes[1]["the same minimiser"] == 100
for scale in (1e8, 1e12):
    assert outcomes[scale]["an active program called inconsistent"] > 60, "this has changed"
    assert not outcomes[scale]["else"]
assert isinstance(seen[0], str) and not isinstance(seen[1], str), "this has changed"
PYTHON
