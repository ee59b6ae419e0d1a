"""Where work is done: the workers of any `concurrent.futures.Executor`, and what they need.

Threads share the arrays of a layer. Other workers get them once: they are written to files, which
workers on this machine map into memory; a worker that cannot see the files says so, is sent the
arrays, and keeps them. Tasks name the arrays and carry little else. Where a worker that dies takes
its pool along, as in `concurrent.futures`, what was lost is done again in this process.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from ...base.arguments import count_processors
from ...base.errors import warn_user

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Pool", "SharedData", "Task"]

Data = TypeVar("Data", bound="DataclassInstance")

MOST_CACHED, MOST_BYTES_CACHED = 8, 1 << 30  # layers of which a worker keeps the arrays
FILES = ("X", "Y", "upper", "active", "weights", "costs")  # fields that are as large as a layer


class SharedData(Generic[Data]):
    """Arrays of a layer, in a dataclass, that workers are to see until it is closed."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self._name: _DataHandle | None = None

    def name(self) -> _DataHandle:
        """Return what workers find the arrays by; the first call writes the files."""
        if self._name is None:
            folder = tempfile.mkdtemp(prefix="nettrim-")
            rest = {f.name: getattr(self.data, f.name) for f in fields(self.data)}
            arrays = {file: rest.pop(file) for file in FILES if rest.get(file) is not None}
            try:
                for file, array in arrays.items():
                    np.save(Path(folder, f"{file}.npy"), array)
            except BaseException:  # no room, or no time: nothing stays behind
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._name = _DataHandle(uuid.uuid4().hex, folder, list(arrays), type(self.data), rest)
            self.data = self._name.opened() or self.data  # no copy in memory beside the files
        return self._name

    def close(self) -> None:
        """Remove the files; a worker that has them open may go on."""
        if self._name is not None:
            shutil.rmtree(self._name.folder, ignore_errors=True)


class _DataHandle(NamedTuple):
    """How a task calls the arrays of a layer."""

    key: str
    folder: str
    files: Sequence[str]
    kind: type[Any]
    rest: dict[str, Any]

    def opened(self) -> Any:
        """Map the files into memory; None if they cannot be seen from here."""
        arrays: dict[str, Any] = {}
        try:
            for file in self.files:
                mapped = np.load(Path(self.folder, f"{file}.npy"), mmap_mode="r")
                arrays[file] = np.asarray(mapped)
        except OSError:
            return None
        return self.kind(**arrays, **self.rest)


class Task(NamedTuple):
    """Call ``function(arrays.data, *arguments)``; it must be found by name, and never return None.

    Threads call it with a function ``stopped`` besides, which says whether to give up.
    """

    arrays: SharedData[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class _CachedData(NamedTuple):
    """What a worker keeps of a layer: files that are mapped take no memory of their own."""

    data: Any
    n_bytes: int


_cache: OrderedDict[str, _CachedData] = OrderedDict()  # of a worker, the last used at the end
_lock = threading.Lock()


def _run_task(
    name: _DataHandle,
    sent: Any,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Any:
    """Carry out a task in a worker; None says that it needs to be sent the arrays."""
    data = _load_data(name, sent)
    return None if data is None else function(data, *arguments)


def _load_data(name: _DataHandle, sent: Any) -> Any:
    """Return the arrays of a layer in a worker, which keeps them."""
    with _lock:
        kept = _cache.pop(name.key, None)
        if kept is None and sent is not None:
            arrays = (getattr(sent, file, None) for file in FILES)
            kept = _CachedData(sent, sum(array.nbytes for array in arrays if array is not None))
        if kept is None and (opened := name.opened()) is not None:
            kept = _CachedData(opened, 0)
        if kept is None:
            return None
        while len(_cache) >= MOST_CACHED or (_cache and _bytes(kept) > MOST_BYTES_CACHED):
            _cache.popitem(last=False)
        _cache[name.key] = kept
        return kept.data


def _bytes(one: _CachedData) -> int:
    return one.n_bytes + sum(other.n_bytes for other in _cache.values())


class Pool:
    """The workers of an executor.

    Raises
    ------
    TypeError
        If what was given is no executor.
    """

    def __init__(self, executor: Executor) -> None:
        if not callable(getattr(executor, "submit", None)):
            raise TypeError(
                f"executor must be a concurrent.futures.Executor, got {type(executor).__name__}"
            )
        self.executor = executor
        self.n_workers = count_workers(executor)
        self.is_replaced = False

    def check_threads(self, n_threads: int) -> None:
        """Refuse several threads in forked processes, which wait for ever."""
        context = getattr(self.executor, "_mp_context", None)
        if (
            n_threads > 1
            and isinstance(self.executor, ProcessPoolExecutor)
            and context is not None
            and context.get_start_method() == "fork"
        ):
            raise ValueError(
                f"n_threads must be 1 in forked processes, got {n_threads}; make the executor with "
                'mp_context=multiprocessing.get_context("spawn")'
            )

    def as_completed(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Any]]:
        """Yield numbers of tasks and what they return, as they finish.

        A consumer that stops, or Ctrl-C, cancels what has not begun.

        Raises
        ------
        TypeError
            If the executor cannot send a task to its workers.
        """
        running = _PendingTasks(self)
        try:
            for task in tasks:
                running.begin(task)
            while running.futures:
                yield from running.collect()
        finally:
            running.cancel()

    def replace_broken(self, error: BaseException) -> None:
        """Go on with threads of this process."""
        warn_user(
            f"executor: a worker died ({type(error).__name__}: {error}); what it had begun and all "
            "that is left is done in this process",
            RuntimeWarning,
        )
        self.executor = ThreadPoolExecutor(min(self.n_workers, count_processors()))
        self.is_replaced = True


class _PendingTasks:
    """Tasks that were submitted and have not been collected."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.tasks: list[Task] = []
        self.futures: dict[Future[Any], int] = {}
        self.stop = threading.Event()

    def begin(self, task: Task) -> None:
        self.tasks.append(task)
        self._submit(len(self.tasks) - 1)

    def collect(self) -> Iterator[tuple[int, Any]]:
        """Wait for the next results; what did not come back is submitted again."""
        done, _ = wait(self.futures, return_when=FIRST_COMPLETED)
        for future in done:
            number = self.futures.pop(future)
            error = future.exception()
            if isinstance(error, BrokenExecutor):
                self._submit_elsewhere(number, error)
            elif error is not None:
                raise _explain_error(error) from error
            elif future.result() is None:
                self._submit(number, with_arrays=True)
            else:
                yield number, future.result()

    def cancel(self) -> None:
        """Stop threads, and whatever has not begun."""
        self.stop.set()
        for future in self.futures:
            future.cancel()

    def _submit(self, number: int, *, with_arrays: bool = False) -> None:
        arrays, function, arguments = self.tasks[number]
        executor = self.pool.executor
        try:
            if isinstance(executor, ThreadPoolExecutor):
                future = executor.submit(function, arrays.data, *arguments, self.stop.is_set)
            else:
                sent = arrays.data if with_arrays else None
                future = executor.submit(_run_task, arrays.name(), sent, function, arguments)
        except BrokenExecutor as error:
            self._submit_elsewhere(number, error)
        except Exception as error:
            raise _explain_error(error) from error
        else:
            self.futures[future] = number

    def _submit_elsewhere(self, number: int, error: BaseException) -> None:
        if not self.pool.is_replaced:
            self.pool.replace_broken(error)
        self._submit(number)


def _explain_error(error: BaseException) -> BaseException:
    """Return an error that says what is wrong with the executor, or the error itself."""
    unsent = isinstance(error, (TypeError, AttributeError)) and "pickle" in str(error)
    if unsent or isinstance(error, pickle.PicklingError):
        return TypeError(f"executor cannot send a task to its workers: {error}")
    if isinstance(error, RuntimeError) and "shutdown" in str(error):
        return ValueError(f"executor takes no tasks: {error}")
    return error


def count_workers(executor: Executor) -> int:
    """Tell how many tasks an executor runs at a time; guess if it does not say."""
    for attribute in ("_max_workers", "num_workers", "max_workers"):
        count = getattr(executor, attribute, None)
        if isinstance(count, int) and count > 0:
            return count
    client = getattr(executor, "_client", None)  # of Dask
    if client is not None:
        return sum(client.nthreads().values()) or 1
    return count_processors()
