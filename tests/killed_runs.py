"""Runs of ``nettrim trim --checkpoint`` that are killed and begun again: the same bits in the end.

One such run is a test, in ``test_checkpoint``. Many, killed at random times::

    python tests/killed_runs.py --rounds 40
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nettrim import Network
from support.networks import random_network

COMMAND = "-m nettrim trim net.npz -c X.npy -e 0.05 -q --threads 1 --tol 1e-6"


def write_files(folder: Path) -> None:
    """Write a network whose layers take some tenths of a second each, and its data."""
    rng = np.random.default_rng(0)
    random_network(rng, 30, 40, 40, 30, 20, 10).save(folder / "net.npz")
    np.save(folder / "X.npy", rng.standard_normal((400, 30)))


def started(folder: Path, options: str) -> subprocess.Popen[bytes]:
    """Begin a run."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *f"{COMMAND} {options}".split()]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def killed(folder: Path, options: str, delay: float) -> bool:
    """Kill a run some time after its first checkpoint; tell whether it was still going on."""
    process = started(folder, options)
    while not list(folder.glob("kept*/layer*.npz")) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    return process.wait() != 0


def differences(folder: Path, rounds: int, seed: int = 0) -> tuple[list[str], int]:
    """Return what rounds ended with other bits than a run in peace, and how many were killed."""
    write_files(folder)
    status = started(folder, "-o whole.npz").wait()
    whole = _bits(folder / "whole.npz")
    wrong, kills = [], 0
    for k in range(rounds):
        delay = float(np.random.default_rng(seed + k).uniform(0, 0.5))
        options = f"-o out{k}.npz --checkpoint kept"
        kills += killed(folder, options, delay)
        if started(folder, options).wait() != status or _bits(folder / f"out{k}.npz") != whole:
            wrong.append(f"round {k}, killed {delay:.3f} s after the first checkpoint")
        for path in (folder / "kept").iterdir():
            path.unlink() if path.is_file() else _emptied(path)
        (folder / f"out{k}.npz").unlink(missing_ok=True)
    return wrong, kills


def _bits(path: Path) -> list[bytes]:
    """Return the weights and biases of a network as bytes."""
    if not path.exists():
        return []
    return [layer.affine.stacked.tobytes() for layer in Network.load(path).prunable_layers()]


def _emptied(folder: Path) -> None:
    """Remove what a killed run was writing."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    with tempfile.TemporaryDirectory() as folder:
        wrong, kills = differences(Path(folder), rounds := parser.parse_args().rounds)
    print("\n".join([*wrong, f"{rounds} rounds, {kills} killed, {len(wrong)} with other bits"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
