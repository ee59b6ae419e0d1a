"""A pass through a model that waits in front of every layer, which may get other weights then."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING

import torch

from .run import Exit, Runner, Stop, evaluation, join_batches

if TYPE_CHECKING:
    from ....base.arrays import Array
    from ...samples import Data

__all__ = ["Walkthrough"]

Outputs = dict[str, torch.Tensor]


class Walkthrough:
    """Data on their way through a model, all batches at the same place.

    Every batch is a call of the model in a thread of its own; one of them runs at a time, and each
    waits where a layer is about to be called. Nothing is therefore computed twice, whatever
    weights are changed on the way, and one pass serves a whole walk over the model.

    To be closed: only then does it leave the model alone.

    Parameters
    ----------
    runner : Runner
    X : ndarray of shape (n_samples, ...) or Samples
    layers : iterable of str
        Where to wait.
    repeated : collection of str, optional
        Those of them that are called again, where nothing waits but the first time.
    """

    def __init__(
        self, runner: Runner, X: Data, layers: Iterable[str], repeated: Collection[str] = ()
    ) -> None:
        self._repeated = repeated
        self._spans = runner.batches(len(X))
        self._calls = [_Call(partial(runner.forward, X[span])) for span in self._spans]
        self._hooks = contextlib.ExitStack()
        self._hooks.enter_context(runner.hooked(layers, self._on_input))

    def close(self) -> None:
        """Stop what has not come to the end."""
        for call in self._calls:
            call.abandon()
        self._hooks.close()

    def reach(self, stop: Stop, axis: int) -> Array:
        """Go on to a layer, or to the end, and return what arrives there.

        Parameters
        ----------
        stop : str or Exit
            The layer to be called next, or an output.
        axis : int
            Of the samples there.

        Returns
        -------
        ndarray of shape (n_samples, ...)
            float64. Where the model merged samples with another axis, that is the second one.

        Raises
        ------
        ValueError
            If the model calls another layer first, or none, on some of the data.
        """
        return join_batches(self._spans, stop, (call.reach(stop) for call in self._calls), axis)

    def _on_input(self, stop: Stop, values: torch.Tensor) -> None:
        call = getattr(_running, "call", None)
        if call in self._calls and not (stop in self._repeated and stop in call.passed):
            call.wait_at(stop, values)


class _Call:
    """One call of a model in a thread; it runs between two stops while another one waits for it."""

    def __init__(self, run: Callable[[], Outputs]) -> None:
        self._run = run
        self._thread = threading.Thread(target=self._target, daemon=True)
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self._stop: Stop | None = None
        self._values: torch.Tensor | None = None
        self._outputs: Outputs | None = None
        self._error: BaseException | None = None
        self._abandoned = False
        self.passed: set[Stop] = set()

    def reach(self, stop: Stop) -> torch.Tensor | None:
        """Let it run on; return what is at a stop, None if it came to another one."""
        if self._outputs is None:
            self._advance()
        if isinstance(stop, Exit):
            return None if self._outputs is None else self._outputs.get(stop.name)
        return self._values if self._stop == stop else None

    def wait_at(self, stop: Stop, values: torch.Tensor) -> None:
        """Stay at a stop until it is to go on; called in the thread."""
        self._stop, self._values = stop, values
        self.passed.add(stop)
        self._arrived.release()
        self._go.acquire()
        self._stop = self._values = None
        if self._abandoned:
            raise _Abandoned

    def abandon(self) -> None:
        """End it at the next stop."""
        self._abandoned = True
        if self._thread.is_alive():
            self._go.release()
            self._thread.join()

    def _advance(self) -> None:
        if not self._thread.ident:
            self._thread.start()
        with evaluation():  # the rest of it is the process's, and holds while the thread runs
            self._go.release()
            self._arrived.acquire()
        if self._error is not None:
            raise self._error

    def _target(self) -> None:
        _running.call = self
        try:
            self._go.acquire()
            with torch.no_grad():  # a matter of each thread
                self._outputs = self._run()
        except _Abandoned:
            pass
        except BaseException as error:  # noqa: BLE001 (raised where the model was called)
            self._error = error
        finally:
            self._arrived.release()


class _Abandoned(BaseException):  # no Exception, which a module's own code may catch
    """Ends a call that nobody waits for."""


_running = threading.local()
