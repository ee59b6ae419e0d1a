"""What a number was measured on: processor, threads, versions."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy

import nettrim


def use_threads(n_threads: int) -> None:
    """Hold every BLAS to ``n_threads``, and give the rivals the kernels this processor can run.

    OpenBLAS does not know some virtual processors and falls back to AVX2 kernels, at half the
    speed. BLAS reads its settings once, when it is loaded, so the program starts itself again.
    """
    wanted = {f"{library}_NUM_THREADS": str(n_threads) for library in ("OMP", "OPENBLAS", "MKL")}
    if "avx512f" in cpu_line("flags").split() and "OPENBLAS_CORETYPE" not in os.environ:
        wanted["OPENBLAS_CORETYPE"] = "SkylakeX"
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted})


def threads() -> int:
    """The number given to `use_threads`."""
    return int(os.environ["OMP_NUM_THREADS"])


def cpu_line(key: str) -> str:
    """One line of /proc/cpuinfo, empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def header() -> dict[str, Any]:
    """The lines that stand above every table of results."""
    return {
        "cpu": cpu_line("model name") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads(),
        "nettrim": nettrim.__version__,
        "instructions": nettrim.build_info()["isa"],
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
    }


def header_line(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())
