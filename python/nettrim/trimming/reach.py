"""How each kind of goal is carried out: by one walk, or by several."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from ..results.trim_result import TrimResult
from .goals import Error, Goal, Promise, Units
from .job import Job
from .keep_promise import keep_promise
from .network_error import trim_to_network_error
from .rest import trim_rest

__all__ = ["reach"]


@singledispatch
def reach(goal: Goal, job: Job[Any]) -> TrimResult[Any]:
    """Carry a goal out; by one walk, if its kind is none of those below."""
    return _walk_once(goal, job)


@reach.register
def _(goal: Error, job: Job[Any]) -> TrimResult[Any]:
    if goal.network is None:
        return _walk_once(goal, job)
    return trim_to_network_error(job, goal, goal.network)


@reach.register
def _(goal: Units, job: Job[Any]) -> TrimResult[Any]:
    return _walk_once(goal, job) if goal.then is None else trim_rest(job, goal, goal.then)


@reach.register
def _(goal: Promise, job: Job[Any]) -> TrimResult[Any]:
    return keep_promise(job, goal, goal.models, goal.target, goal.labels)


def _walk_once(goal: Goal, job: Job[Any]) -> TrimResult[Any]:
    with job.running() as run:
        walk = job.walk(run, goal)
    return job.assess(walk, goal)
