"""A pass through a model that waits in front of every layer, which may get other weights then."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...picked_rows import PickedRows
from .routing import hooked_modules
from .row_tracker import RowTracker, as_rows, join_rows
from .run import Arrival, Exit, Runner, Stop, evaluation, join_batches

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
    turns : mapping of str to int
        The layers where to wait, and the order of their calls.
    repeated : collection of str, optional
        Those of them that are called again, where nothing waits but once.
    number : int, default 0
        In which of their calls.
    whole : iterable of str, optional
        The modules in whose inputs the rows are that arrive there.
    """

    def __init__(
        self,
        runner: Runner,
        X: Data,
        turns: Mapping[str, int],
        repeated: Collection[str] = (),
        whole: Iterable[str] = (),
        number: int = 0,
    ) -> None:
        self._repeated, self._number, self._n_samples = repeated, number, len(X)
        self._spans = runner.batches(len(X))
        self._turns = turns
        self._calls = [
            _Call(partial(runner.forward, X[span]), span.stop - span.start) for span in self._spans
        ]
        self._hooks = contextlib.ExitStack()
        self._hooks.enter_context(runner.hooked(turns, self._on_input))
        self._hooks.enter_context(hooked_modules(runner, whole, self._on_module))

    def close(self) -> None:
        """Stop what has not come to the end; a Ctrl-C counts once none of it is left."""
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                for call in self._calls:
                    call.abandon()
                self._hooks.close()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

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
        return join_batches(self._spans, stop, self._reached(stop), axis)

    def reach_any(
        self, stop: str, arrival: Arrival, *, same_shape: bool
    ) -> tuple[Array, PickedRows | None]:
        """Do the same at a layer, which may meet fewer rows than before under the weights of now.

        Parameters
        ----------
        stop : str
        arrival : Arrival
            How samples arrive there.
        same_shape : bool
            Whether these samples are of the shape of those of which that is known.

        Returns
        -------
        values : ndarray of shape (n_samples, ...)
            Or of as many rows as there are.
        rows : PickedRows or None
            None where they are those of all samples.
        """
        parts = [*self._reached(stop)]
        counts = [span.stop - span.start for span in self._spans]
        sizes = {
            None if part is None or part.numel() % count else part.numel() // count
            for part, count in zip(parts, counts, strict=True)
        }
        if len(sizes) == 1 and (sizes == {arrival.entries} or (sizes != {None} and not same_shape)):
            return join_batches(self._spans, stop, parts, arrival.axis), None
        met = [as_rows(part, arrival.row) for part in parts if part is not None]
        return np.concatenate(met or [np.empty((0, *arrival.row))]), PickedRows(None, 0)

    def check_calls(self, layers: Iterable[str], n_calls: int) -> None:
        """Refuse a model that has called some layers more or less often than it should have.

        Raises
        ------
        ValueError
        """
        for name in layers:
            if any(call.passed[name] != n_calls for call in self._calls):
                raise ValueError(f"model calls {name!r} more often on some samples than on others")

    def wait_at(self, stop: Stop) -> None:
        """Go on to a stop, if it is one where to wait."""
        if stop in self._turns:
            for _ in self._reached(stop):
                pass

    def reach_rows(self, stop: Stop, shape: Sequence[int]) -> tuple[Array, PickedRows]:
        """Do the same at a layer that meets rows the model picks, of some shape, if it does."""
        arrived = zip(self._spans, self._calls, self._reached(stop), strict=True)
        parts = (
            (span, call.tracker.locate(as_rows(values, shape)))
            for span, call, values in arrived
            if values is not None
        )
        return join_rows(parts, shape, self._n_samples)

    def _reached(self, stop: Stop) -> Iterator[torch.Tensor | None]:
        """Let all calls run on, one after the other; yield what is at a stop, None elsewhere."""
        turn = math.inf if isinstance(stop, Exit) else self._turns[stop]
        for call in self._calls:
            call.run_to(turn)
            if isinstance(stop, Exit):
                yield None if call.outputs is None else call.outputs.get(stop.name)
            else:
                yield call.values if call.turn == turn else None

    def _on_module(self, _: str, values: torch.Tensor) -> None:
        call = getattr(_running, "call", None)
        if call in self._calls:
            call.tracker.hear(values)

    def _on_input(self, stop: Stop, values: torch.Tensor) -> None:
        call = getattr(_running, "call", None)
        if call in self._calls:
            passed = call.passed[stop]
            call.passed[stop] += 1
            if stop not in self._repeated or passed == self._number:
                call.wait_at(self._turns[str(stop)], values)


class _Call:
    """One call of a model in a thread; it runs between two stops while another one waits for it."""

    def __init__(self, run: Callable[[], Outputs], n_samples: int) -> None:
        self._run = run
        self._thread = threading.Thread(target=self._target, daemon=True)
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._abandoned = False
        self.turn = -1.0  # of the stop where it waits
        self.values: torch.Tensor | None = None
        self.outputs: Outputs | None = None
        self.passed: Counter[Stop] = Counter()
        self.tracker = RowTracker(n_samples)

    def run_to(self, turn: float) -> None:
        """Let it run on to the stop whose turn it is, past those in front of it, or beyond.

        It stays where it is if it has passed that stop by.
        """
        while self.outputs is None and self.turn < turn:
            self._advance()

    def wait_at(self, turn: float, values: torch.Tensor) -> None:
        """Stay at a stop until it is to go on; called in the thread."""
        self.turn, self.values = turn, values
        self._arrived.release()
        self._go.acquire()
        self.turn, self.values = -1.0, None
        if self._abandoned:
            raise _Abandoned

    def abandon(self) -> None:
        """End it at the next stop."""
        self._abandoned = True
        self._go.release()  # also where Ctrl-C came while the thread was about to start
        if self._thread.is_alive():
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
            if self._abandoned:
                return
            with torch.no_grad():  # a matter of each thread
                self.outputs = self._run()
        except _Abandoned:
            pass
        except BaseException as error:  # noqa: BLE001 (raised where the model was called)
            self._error = error
        finally:
            self._arrived.release()


class _Abandoned(BaseException):  # no Exception, which a module's own code may catch
    """Ends a call that nobody waits for."""


_running = threading.local()
