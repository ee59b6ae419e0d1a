"""Choose the compiled core for this machine's instruction set.

The package holds one extension module per instruction set, because a copy of Eigen built for one
must never run on a machine of another: wheels hold them all, an install from source that of the
machine it was built on. The environment variable ``NETTRIM_ISA`` forces a choice.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing.context
import os
from typing import TYPE_CHECKING

from .. import _cpu

ALL_SETS = "to have all of them, build from source with NETTRIM_ISA_SETS=all pip install ."

runnable = ["avx512"] * _cpu.avx512 + ["avx2"] * _cpu.avx2 + ["baseline"]
built = [
    isa
    for isa in ("avx512", "avx2", "baseline")
    if importlib.util.find_spec(f".._core_{isa}", __package__)
]
usable = [isa for isa in runnable if isa in built]


def _chosen(forced: str | None) -> str:
    """Return the instruction set to use: the forced one, or the best."""
    if not usable:
        raise ImportError(
            f"nettrim was built for {built} alone, and this machine runs {runnable}: "
            f"install it anew here; {ALL_SETS}"
        )
    if not forced or forced in usable:
        return forced or usable[0]
    if forced in runnable:
        raise ImportError(
            f"NETTRIM_ISA={forced!r} is not in this build; choose one of {usable}; {ALL_SETS}"
        )
    raise ImportError(f"NETTRIM_ISA={forced!r} cannot run here; choose one of {usable}")


isa = _chosen(os.environ.get("NETTRIM_ISA"))

__all__ = ["build_info", "built", "core", "isa", "runnable", "usable"]

if TYPE_CHECKING:
    import nettrim._core as core  # its stub describes every variant
else:
    core = importlib.import_module(f"nettrim._core_{isa}")

# A child forked before the core was loaded: another library may have left it an OpenMP runtime
# whose threads are in the parent. The core itself notices the forks that come after it.
if isinstance(
    multiprocessing.current_process(), getattr(multiprocessing.context, "ForkProcess", ())
):
    core.work_alone()


def build_info() -> dict[str, object]:
    """Tell how the compiled core in use was built; worth adding to a bug report.

    Returns
    -------
    dict
        ``version`` of the package, ``compiler``, ``isa`` (the instruction set in use: "baseline",
        "avx2" or "avx512"), ``built`` (every instruction set this build has a core for) and
        ``usable`` (those of them that this machine can run), both best first, ``flags`` (of the
        compiler), ``openmp`` (its date as an int, 0 without it) and ``eigen`` (version of the Eigen
        headers).

    Examples
    --------
    >>> import nettrim
    >>> nettrim.build_info()["eigen"]
    '3.4.1'
    """
    return {**core.build_info(), "built": list(built), "usable": list(usable)}
