"""A path of models of one network, to look at and to choose from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, Literal, TypeVar

from numpy.typing import ArrayLike

from ..base.arguments import check_number, check_share, refuse_unused, show
from ..base.errors import CalibrationWarning
from ..models.masks import MaskChoice
from ..models.samples import refuse_shuffled
from ..results.accuracy import compare_accuracy
from ..results.network_trace import NetworkTrace
from ..results.trim_result import TrimResult
from .choice import LayerChoice
from .goals import Error, PathGoal, Sparsity
from .job import Job
from .path import Path

__all__ = ["trace_network"]

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)

Model = TypeVar("Model")


def trace_network(
    model: Model,
    X: Any,
    *,
    sparsities: Iterable[float] | None = None,
    epsilons: Iterable[float] | None = None,
    held_out: Any = None,
    labels: ArrayLike | None = None,
    scheme: Literal["cascade", "parallel"] = "cascade",
    layers: LayerChoice | None = None,
    skip: LayerChoice | None = None,
    outputs: Iterable[int | str] | None = None,
    mask: MaskChoice = None,
    n_threads: int | None = None,
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    max_patches: int = 20_000,
    seed: int = 0,
    progress: bool = True,
) -> NetworkTrace[Model]:
    """Trim a network to several sparsities or errors, and put the models side by side.

    They share work: layers are traced once on the original signals for all sparsities below .8, and
    once for all others; answers to one epsilon are where the solver begins at the next.

    Parameters
    ----------
    model, X, scheme, layers, skip, outputs, mask, held_out, n_threads, executor, max_patches, \
seed, progress
        As of `nettrim.trim`.
    sparsities : iterable of float, optional
        See `nettrim.Sparsity`. Default (0.5, 0.7, 0.8, 0.9, 0.95).
    epsilons : iterable of float, optional
        Errors allowed to a layer, instead; see `nettrim.Error`.
    labels : array_like of shape (n_held_out,), optional
        The right answers of the held-out samples, for the accuracy; see
        `nettrim.TrimResult.accuracy`.
    checkpoint : str or path-like, optional
        Folder in which finished layers are kept, in a folder for each model; see `nettrim.trim`.

    Returns
    -------
    NetworkTrace
        ``print`` shows a table; `NetworkTrace.at` returns a model, with all that `nettrim.trim`
        returns.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be; the message names it.

    Notes
    -----
    Ctrl-C ends the run and returns the models that are finished, and the one that was begun.

    Examples
    --------
    >>> import nettrim
    >>> from nettrim.demo import load_digits
    >>> digits = load_digits()
    >>> trace = nettrim.trace_network(
    ...     digits.network,
    ...     digits.X,
    ...     epsilons=[0.05, 0.2],
    ...     held_out=digits.X_test,
    ...     progress=False,
    ... )
    >>> [point.level for point in trace.points], trace.points[0].kept > trace.points[1].kept
    ([0.05, 0.2], True)
    """
    goals = _make_goals(sparsities, epsilons)
    if held_out is None:
        refuse_unused("are those of held_out, and there is none", labels=labels)
    if isinstance(held_out, Iterator):
        held_out = list(held_out)  # batches, which models and labels are compared on in turn
    job = Job.of(
        model,
        X,
        goals[0],
        scheme=scheme,
        layers=layers,
        skip=skip,
        outputs=outputs,
        mask=mask,
        held_out=held_out,
        measure=None,
        n_threads=n_threads,
        executor=executor,
        checkpoint=checkpoint,
        max_patches=max_patches,
        seed=seed,
        progress=progress,
    )
    if labels is not None:
        if not job.opened.held_out_in_order:
            refuse_shuffled("held_out")
        compare_accuracy(model, model, held_out, labels)  # refuses labels that are none
    results = _trim_all(job, goals)
    kind = goals[0].level
    return NetworkTrace.of(
        kind,
        [getattr(goal, kind) for goal in goals[: len(results)]],
        results,
        [] if labels is None else [one.accuracy(held_out, labels) for one in results],
    )


def _make_goals(
    sparsities: Iterable[float] | None, epsilons: Iterable[float] | None
) -> list[PathGoal]:
    """Return the models to be made, from careful to bold."""
    if epsilons is None:
        levels, name = SPARSITIES if sparsities is None else sparsities, "sparsities"
        goals: list[PathGoal] = [
            Sparsity(check_share(level, name)) for level in _listed(levels, name)
        ]
    else:
        refuse_unused("stand for the same as epsilons: give one", sparsities=sparsities)
        goals = [
            Error(check_number(level, "epsilons", least=0.0))
            for level in _listed(epsilons, "epsilons")
        ]
    unlike = {goal.title: goal for goal in goals}
    return sorted(unlike.values(), key=lambda goal: getattr(goal, goal.level))


def _listed(levels: Iterable[float], name: str) -> list[float]:
    try:
        listed = list(levels)
    except TypeError:
        raise TypeError(f"{name} must be several numbers, got {show(levels)}") from None
    if not listed:
        raise ValueError(f"{name} is empty: name at least one")
    return listed


def _trim_all(job: Job[Model], goals: Sequence[PathGoal]) -> list[TrimResult[Model]]:
    """Trim the models in turn, until Ctrl-C ends one."""
    results: list[TrimResult[Model]] = []
    memory: dict[int, Any] = {}
    told: set[type[Warning]] = set()  # of the samples, which all models have in common
    for goal in goals:
        own = job.afresh()
        with own.running() as run:
            run.warned.update(told)
            walk = Path(own, goal, memory).trim_to(run, goal)
        told |= run.warned & {CalibrationWarning}
        results.append(own.assess(walk, goal))
        if walk.interrupted:
            break
    return results
