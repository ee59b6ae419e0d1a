"""What is done with a model: opened on data once, for as many walks as a goal takes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from ..base.arguments import check_choice, check_integer, check_threads
from ..base.stopwatch import Stopwatch
from ..layer.blocks.workers import Pool
from ..models.masks import MaskChoice, describe_choice
from ..models.model_view import viewed_model
from ..models.opened_model import OpenedModel
from ..results.trim_result import TrimResult
from .assessment import assess, warn
from .checkpoint import Checkpoint
from .choice import LayerChoice, choose_layers, choose_outputs
from .goals.goal import Goal
from .measure import Gauge, Measure
from .methods.method import Method, RowSample, Run
from .progress import make_reporter
from .recipe import make_recipe
from .runs import Runs, run_before
from .unseen import warn_of_copies
from .walk import Walk

__all__ = ["Job"]

SCHEMES = ("cascade", "parallel")

Model = TypeVar("Model")


@dataclass(frozen=True)
class Job(Generic[Model]):
    """A model opened on data, and what all walks over it have in common.

    Attributes
    ----------
    opened : OpenedModel
    chosen, counted : sequence of int
        Positions of the layers to be pruned, and of the outputs that count.
    scheme : {"cascade", "parallel"}
    draw : RowSample
    n_threads : int or None
    pool : Pool or None
    progress : bool
    before : Runs
        What the framework itself computes for the model.
    gauge : Gauge
    store : Checkpoint or None
    described : dict
        What a recipe tells of arguments that no walk asks for.
    by_answers : bool
        See `Run`.
    watch : Stopwatch
    began : float
    """

    opened: OpenedModel[Model]
    chosen: Sequence[int]
    counted: Sequence[int]
    scheme: str
    draw: RowSample
    n_threads: int | None
    pool: Pool | None
    progress: bool
    before: Runs
    gauge: Gauge
    store: Checkpoint | None
    described: dict[str, Any]
    by_answers: bool = False
    watch: Stopwatch = field(default_factory=Stopwatch)
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(
        cls,
        model: Model,
        X: Any,
        goal: Goal,
        *,
        scheme: str,
        layers: LayerChoice | None,
        skip: LayerChoice | None,
        outputs: Iterable[int | str] | None,
        mask: MaskChoice,
        held_out: Any,
        measure: Measure | None,
        n_threads: int | None,
        executor: Executor | None,
        checkpoint: str | os.PathLike[str] | None,
        max_patches: int,
        seed: int,
        progress: bool,
    ) -> Job[Model]:
        """Check what was asked for, and open the model; arguments are those of `nettrim.trim`."""
        began, watch = time.perf_counter(), Stopwatch()
        pool = None if executor is None else Pool(executor)
        goal.check(check_choice(scheme, SCHEMES, "scheme"), pool)
        check_threads(n_threads)
        draw = RowSample(
            check_integer(max_patches, "max_patches"), check_integer(seed, "seed", least=0)
        )
        opened = OpenedModel.on(model, X, held_out, mask)
        if layers is None and goal.leaves_rare:
            opened = opened.leaving_rare()
        chosen = choose_layers(opened.layers, layers, skip, opened.untouched)
        opened = opened.passing_over(chosen)
        counted = choose_outputs(opened.outputs, outputs)
        goal.check_data(opened, counted)
        before = run_before(opened)
        warn_of_copies(opened)
        store = None
        if checkpoint is not None:
            counts = {} if outputs is None else {"outputs": counted}
            hashes = {
                "weights of the model": opened.facts["model"]["sha256"],
                "data X": opened.facts["calibration"]["sha256"],
            }
            store = Checkpoint(checkpoint, {**hashes, **draw._asdict(), **counts})
        return cls(
            opened=opened,
            chosen=chosen,
            counted=counted,
            scheme=scheme,
            draw=draw,
            n_threads=n_threads,
            pool=pool,
            progress=progress,
            before=before,
            gauge=Gauge(measure, viewed_model(model), watch),
            store=store,
            described={"mask": describe_choice(mask)},
            watch=watch,
            began=began,
        )

    @property
    def n_held_out(self) -> int:
        """How many held-out samples there are."""
        return 0 if self.opened.held_out is None else len(self.opened.held_out)

    def on_rows(self, rows: NDArray[Any]) -> Job[Model]:
        """Return the job on some of the calibration samples, of which nothing is kept on disk.

        Layers that none of them reaches stay as they are.

        Raises
        ------
        ValueError
            If they reach none of the layers to be pruned.
        """
        opened = replace(self.opened, data=self.opened.data[rows], held_out=None)
        reached = opened.reached(self.chosen)
        if not reached:
            raise ValueError(
                "X: the samples that reach a layer to be pruned are among those that are set aside "
                "to judge by; give more that reach one, or another seed"
            )
        return replace(self, opened=opened, chosen=reached, before=Runs(), store=None)

    def afresh(self) -> Job[Model]:
        """Return the job with its clock set back, for a result of its own."""
        return replace(self, watch=Stopwatch(), began=time.perf_counter())

    @contextmanager
    def running(self) -> Iterator[Run]:
        """Open what walks have in common; progress is shown until it is left."""
        with make_reporter(self.progress, len(self.chosen)) as report:
            yield Run(
                self.opened,
                self.chosen,
                self.counted,
                self.draw,
                self.n_threads,
                report,
                self.watch,
                self.by_answers,
            )

    def walk(
        self,
        run: Run,
        goal: Goal,
        method: Method | None = None,
        title: str = "",
        *,
        measures: bool = True,
    ) -> Walk:
        """Carry a goal out by one walk; Ctrl-C ends it and leaves what is finished.

        Parameters
        ----------
        run : Run
        goal : Goal
        method : Method, optional
            Default the goal's own.
        title : str, optional
            Of one walk among several, for progress and the folder of its checkpoint.
        measures : bool, default True
            See `Walk`.
        """
        if title:
            run.report.begin(title)
        store = self.store
        if store is not None:
            store = store.part(title, goal.identity(self.scheme))
        walk = Walk(run, method or goal.method(run, self.scheme, self.pool), store, measures)
        walk.go()
        return walk

    def assess(self, walk: Walk, goal: Goal) -> TrimResult[Model]:
        """Measure and bound what a walk did, warn of what must not be overlooked, and report it."""
        arguments = {
            **goal.arguments(self.scheme),
            "layers": [self.opened.layers[position].name for position in self.chosen],
            "outputs": [self.opened.outputs[number] for number in self.counted],
            **self.described,
            "n_threads": self.n_threads,
            **self.draw._asdict(),
        }
        recipe = make_recipe(self.opened, arguments)
        result = assess(walk, self.before, self.gauge, recipe, self.began)
        warn(result, walk)
        return result
