"""Executors for `nettrim.trim` and for single layers beyond those that others have."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from .budget.data import BudgetData
from .layer.data import LayerData

__all__ = ["RayExecutor"]

STORED = (LayerData, BudgetData)  # what is too large to be sent with every task


class RayExecutor(Executor):
    """The workers of a Ray cluster as an executor, which Ray does not have.

    Parameters
    ----------
    **options
        Of ``ray.remote``, for example ``num_cpus=2``.

    Raises
    ------
    ImportError
        If Ray is not installed.

    Examples
    --------
    >>> import nettrim
    >>> with nettrim.execution.RayExecutor(num_cpus=1) as executor:  # doctest: +SKIP
    ...     result = nettrim.trim(network, X, epsilon=0.05, executor=executor)
    """

    def __init__(self, **options: Any) -> None:
        try:
            import ray
        except ImportError:
            raise ImportError("RayExecutor needs Ray: pip install ray") from None
        self._ray = ray
        self._call = ray.remote(**options)(_call) if options else ray.remote(_call)
        cpus = ray.cluster_resources().get("CPU", 1)
        self.max_workers = max(int(cpus / options.get("num_cpus", 1)), 1)
        self._stored: tuple[Any, Any] = (None, None)
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on a worker."""
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        stored = [self._store(a) if isinstance(a, STORED) else a for a in args]
        future: Future[Any] = self._call.remote(fn, *stored, **kwargs).future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks. The cluster goes on."""
        self._closed = True

    def _store(self, data: Any) -> Any:
        """Put arrays where all workers can read them, once."""
        if self._stored[0] is not data:
            self._stored = (data, self._ray.put(data))
        return self._stored[1]


def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return function(*arguments, **options)
