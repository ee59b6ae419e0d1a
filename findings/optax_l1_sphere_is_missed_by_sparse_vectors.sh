#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2 (CPU): projection_l1_sphere, the nearest point whose absolute values sum to a given number, of
# vectors with and without zeros.
# Guess: the result is on the sphere and none on it is nearer, whatever the vector, as it is for the balls, the simplex
# and the l2 sphere.
# Seen: so it is for dense vectors, and for all from outside the sphere. A sparse vector from inside comes out inside:
# every entry is to grow by the same amount, zeros as well, but theirs is multiplied by the sign of zero and lost. From
# (0, 0, 0, 0.1) the sphere of radius 1.5 becomes a point whose absolute values sum to 0.45. Zeros replaced by 1e-12
# are projected right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    optax==0.2.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$work/env/bin/python" -W ignore - <<'PYTHON'
import jax
import numpy as np
from optax import projections

jax.config.update("jax_enable_x64", True)
radius = 1.5
rng = np.random.default_rng(0)

def is_nearest(x, p, norm):
    """Whether p is on the sphere and no other of many points on it, around p and elsewhere, is nearer to x."""
    if abs(norm(p) - radius) > 1e-9:
        return False
    others = p + rng.standard_normal((2000, x.size)) * rng.choice([1e-3, 0.1, 1], (2000, 1))
    others *= (radius / np.apply_along_axis(norm, 1, others))[:, None]
    return np.linalg.norm(others - x, axis=1).min() > np.linalg.norm(p - x) - 1e-9

def l1(z):
    return abs(z).sum()

spheres = {"l1": (projections.projection_l1_sphere, l1), "l2": (projections.projection_l2_sphere, np.linalg.norm)}
right = {}
for name, (project, norm) in spheres.items():
    for start in ("inside", "outside"):
        for kind in ("dense", "sparse", "almost sparse"):
            count = 0
            for _ in range(20):
                x = rng.standard_normal(4)
                if kind != "dense":
                    x[rng.permutation(4)[: rng.integers(1, 4)]] = 0 if kind == "sparse" else 1e-12
                x *= radius / norm(x) * (0.5 if start == "inside" else 2)
                count += is_nearest(x, np.asarray(project(x, radius)), norm)
            right[name, start, kind] = count
            print(f"{name} sphere, {kind} vectors from {start}: {count} of 20 are the nearest point")
assert right.pop(("l1", "inside", "sparse")) == 0, "this has changed"
assert set(right.values()) == {20}
point = np.asarray(projections.projection_l1_sphere(np.array([0, 0, 0, 0.1]), radius))
print(f"0, 0, 0, 0.1 becomes {point}, whose l1 norm is {l1(point):.3g}")
assert np.isclose(l1(point), 0.45), "this has changed"
PYTHON
