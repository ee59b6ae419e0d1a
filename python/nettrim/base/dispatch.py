"""Choose the compiled core for this machine's instruction set.

The package holds one extension module per instruction set, because a copy of Eigen built for one
must never run on a machine of another. The environment variable ``NETTRIM_ISA`` forces a choice.
"""

from __future__ import annotations

import importlib
import multiprocessing.context
import os
from typing import TYPE_CHECKING

from .. import _cpu

usable = ["avx512"] * _cpu.avx512 + ["avx2"] * _cpu.avx2 + ["baseline"]
isa = os.environ.get("NETTRIM_ISA") or usable[0]
if isa not in usable:
    raise ImportError(f"NETTRIM_ISA={isa!r} cannot run here; choose one of {usable}")

__all__ = ["build_info", "core", "isa", "usable"]

if TYPE_CHECKING:
    import nettrim._core as core  # its stub describes every variant
else:
    core = importlib.import_module(f"nettrim._core_{isa}")

# A child forked before the core was loaded: another library may have left it an OpenMP runtime whose
# threads are in the parent. The core itself notices the forks that come after it.
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
        "avx2" or "avx512"), ``usable`` (every instruction set this machine can run, best first),
        ``flags`` (of the compiler), ``openmp`` (its date as an int, 0 without it) and ``eigen``
        (version of the Eigen headers).

    Examples
    --------
    >>> import nettrim
    >>> nettrim.build_info()["eigen"]
    '3.4.1'
    """
    return {**core.build_info(), "usable": list(usable)}
