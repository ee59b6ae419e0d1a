"""What came of a walk: measured, bounded, reported, and warned of."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..base.arrays import AnyFloat, Array, frobenius_norm, relative_to
from ..base.errors import (
    LARGE_ERROR,
    ConvergenceWarning,
    LargeErrorWarning,
    RuntimeMismatchWarning,
    warn_user,
)
from ..base.stopwatch import Stopwatch
from ..models.layer_view import Precision
from ..results.outcome import KEPT, UNREACHED, LayerReport, Measured, OutputReport
from ..results.trim_result import TrimResult
from ..results.unseen import Unseen
from .bounds import UNMEASURED, SignalBounds, measure_and_bound, measure_changes
from .measure import Gauge
from .methods.method import SOLVING
from .runs import Runs, run_framework
from .solved_layer import SolvedLayer
from .unseen import judge_unseen
from .walk import Walk

__all__ = ["assess", "warn"]

PROVED = ("gap", "l1_gap", "residual", "violation", "iterations")

SIGNALS = "signals"  # the stage of a run that computes, poses and measures


def assess(
    walk: Walk,
    before: Runs,
    gauge: Gauge,
    recipe: dict[str, Any],
    began: float,
) -> TrimResult[Any]:
    """Measure and bound what the walk did, and write the reports; it all began at some time."""
    opened = walk.run.opened
    trimmed, widths = walk.deliver()
    layers, outputs = _reports(walk, before.data, trimmed)
    discrepancy = _root_mean_square([output.discrepancy for output in outputs])
    unseen = None if math.isnan(discrepancy) else _unseen(walk, before.held_out, trimmed)
    measured = _measure(walk, gauge, trimmed)
    passed_over = {weight.name for weight in opened.untouched}
    return TrimResult(
        model=trimmed,
        original=opened.model,
        layers=tuple(layer for layer in layers if layer.name not in passed_over),
        scheme="cascade" if walk.method.cascaded else "parallel",
        n_samples=len(opened.data),
        discrepancy=discrepancy,
        bound=_root_mean_square([output.bound for output in outputs]),
        held_out_discrepancy=_held_out(outputs),
        interrupted=walk.interrupted,
        recipe={
            **recipe,
            "measured": {name: _plain(one) for name, one in measured.items()},
            "unseen": None if unseen is None else unseen.as_plain(),
        },
        outputs=outputs,
        untouched=tuple(opened.untouched),
        measured=measured,
        widths=widths,
        unseen=unseen,
        **_times(walk.run.watch, time.perf_counter() - began),
    )


def _measure(walk: Walk, gauge: Gauge, trimmed: Any) -> dict[str, Measured]:
    """Have the user's function measure the trimmed model; Ctrl-C ends that."""
    try:
        return gauge.compare(trimmed)
    except KeyboardInterrupt:
        walk.interrupted = True
        return gauge.before_alone()


def _plain(measured: Measured) -> dict[str, float | None]:
    """Return numbers as JSON can hold them."""
    known = measured._asdict().items()
    return {name: value if math.isfinite(value) else None for name, value in known}


def _reports(
    walk: Walk, before: Sequence[AnyFloat] | None, trimmed: Any
) -> tuple[tuple[LayerReport, ...], tuple[OutputReport, ...]]:
    """Write the reports of the layers and of the outputs that count.

    Ctrl-C ends the measuring: what is not measured by then is NaN.
    """
    opened = walk.run.opened
    n_layers, held_out = len(opened.layers), None if opened.held_out is None else math.nan
    layers = [_layer(walk, position, UNMEASURED, held_out) for position in range(n_layers)]
    outputs = {
        number: _output(opened.outputs[number], UNMEASURED, held_out) for number in walk.run.counted
    }
    try:
        for position, report in _measured_reports(walk, before, trimmed):
            if isinstance(report, LayerReport):
                layers[position] = report
            else:
                outputs[position - n_layers] = report
    except KeyboardInterrupt:
        walk.interrupted = True
    return tuple(layers), tuple(outputs.values())


def _measured_reports(
    walk: Walk, before: Sequence[AnyFloat] | None, trimmed: Any
) -> Iterator[tuple[int, LayerReport | OutputReport]]:
    """Yield reports of layers and outputs with the positions of their signals."""
    opened = walk.run.opened
    held_out: list[float] = []
    if opened.held_out is not None:
        held_out = [
            c.relative for c in measure_changes(opened.view, walk.trimmed(), opened.held_out)
        ]
    after = None if before is None else run_framework(opened.view, trimmed, opened.data)
    runs = [] if before is None or after is None else [before, after]
    signals: Iterable[SignalBounds] = walk.measured
    if not walk.measured:
        signals = measure_and_bound(opened.view, walk.trimmed(), opened.data)
    missing = set(walk.run.counted)
    for position, measured in enumerate(signals):
        held_out_discrepancy = held_out[position] if held_out else None
        number = position - len(opened.layers)
        missing.discard(number)
        if number < 0:
            yield position, _layer(walk, position, measured, held_out_discrepancy)
        elif number in walk.run.counted:
            output = _output(opened.outputs[number], measured, held_out_discrepancy)
            own = [run[number] for run in runs]
            if own and measured.values is not None:
                output = _compare_runtime(output, measured.values, own, walk)
            yield position, output
    if missing:
        names = [*opened.outputs]
        raise ValueError(f"model: its view names the outputs {names} and has signals of fewer")


def _output(name: str, measured: SignalBounds, held_out: float | None) -> OutputReport:
    norm = measured.change.norm or 1.0
    return OutputReport(
        name=name,
        norm=norm,
        discrepancy=measured.change.relative,
        bound=measured.bound.proved / norm,
        held_out_discrepancy=held_out,
    )


def _held_out(outputs: Sequence[OutputReport]) -> float | None:
    known = [o.held_out_discrepancy for o in outputs if o.held_out_discrepancy is not None]
    return _root_mean_square(known) if known else None


def _root_mean_square(errors: Sequence[float]) -> float:
    """Return the root of the mean square."""
    return errors[0] if len(errors) == 1 else float(np.sqrt(np.mean(np.square(errors))))


def _unseen(walk: Walk, before: Sequence[AnyFloat] | None, trimmed: Any) -> Unseen | None:
    """Say what held-out samples tell of future ones; Ctrl-C ends it."""
    try:
        return judge_unseen(walk, before, trimmed)
    except KeyboardInterrupt:
        walk.interrupted = True
        return None


def _times(watch: Stopwatch, total: float) -> dict[str, Any]:
    """Return all that the run took, and what of it went to something else than solving."""
    stages = {name: spent for name, spent in watch.seconds.items() if name != SOLVING}
    rest = total - sum(watch.seconds.values())
    return {"seconds": total, "stages": {**stages, SIGNALS: rest}}


def _compare_runtime(
    report: OutputReport, exact: Sequence[Array], computed: Sequence[AnyFloat], walk: Walk
) -> OutputReport:
    """Hold the framework's results for both models against those of exact arithmetic."""
    runs = [
        own.reshape(values.shape).astype(np.float64)
        for own, values in zip(computed, exact, strict=True)
    ]
    errors = [frobenius_norm(own - values) for own, values in zip(runs, exact, strict=True)]
    error = relative_to(max(errors), frobenius_norm(exact[0]))
    types = {
        *(layer.affine.precision for layer in walk.run.layers),
        Precision.of(computed[0].dtype),
    }
    coarsest = max(precision.epsilon for precision in types)
    return replace(
        report,
        runtime_discrepancy=relative_to(frobenius_norm(runs[1] - runs[0]), frobenius_norm(runs[0])),
        runtime_error=error,
        runtime_differs=not error <= math.sqrt(coarsest),
    )


def _layer(
    walk: Walk, position: int, measured: SignalBounds, held_out: float | None
) -> LayerReport:
    change, bound = measured.change, measured.bound
    layer, solved = walk.run.layers[position], walk.solved.get(position)
    before, after = layer.affine, walk.weights.get(position, layer.affine)
    norm = change.norm or 1.0
    return LayerReport(
        name=layer.name,
        shape=layer.shape,
        nonzeros_before=int(np.count_nonzero(before.weights)),
        nonzeros_after=int(np.count_nonzero(walk.weights_left(position))),
        l1_before=float(np.abs(before.stacked).sum()),
        l1_after=float(np.abs(after.stacked).sum()),
        output_norm=norm,
        discrepancy=change.relative,
        bound=bound.proved / norm,
        prior_bound=bound.prior / norm,
        held_out_discrepancy=held_out,
        **({} if solved is None else _rows(walk, measured.n_rows)),
        **_answer(solved, UNREACHED if position in walk.run.chosen else KEPT),
    )


def _rows(walk: Walk, n_rows: int) -> dict[str, Any]:
    """Return on how many of its rows a layer was solved."""
    return {"solved_rows": walk.run.draw.solved_rows(n_rows, len(walk.run.data)), "n_rows": n_rows}


def _answer(solved: SolvedLayer | None, otherwise: str) -> dict[str, Any]:
    """Return the part of a report that comes from the solver."""
    if solved is None:
        return {"status": otherwise}
    answer = {name: getattr(solved, name) for name in ("status", "seconds", "active_rows")}
    proof = solved.proof
    if proof is None:
        return answer
    return {
        **answer,
        "epsilon": solved.radius,
        **{name: getattr(proof, name) for name in PROVED},
        "history": tuple((float(seconds), float(gap)) for seconds, gap in proof.history),
    }


def warn(result: TrimResult[Any], walk: Walk) -> None:
    """Warn once of each thing that a reader must not overlook and that was not told on the way."""
    open_layers = [layer for layer in result.layers if layer.pruned and not layer.converged]
    if open_layers:
        names = ", ".join(map(_unproved, open_layers))
        warn_user(
            f"not solved to the tolerance: {names}; their answers are flagged, and used unless "
            "they are far beyond epsilon. Allow more iterations or time, or a larger tol",
            ConvergenceWarning,
        )
    if result.discrepancy > LARGE_ERROR and LargeErrorWarning not in walk.run.warned:
        warn_user(
            f"the output of the network moved by {result.discrepancy:.0%}: it may do nothing of "
            "what it did. Ask for less",
            LargeErrorWarning,
        )
    for output in result.outputs:
        if output.runtime_differs:
            warn_user(
                f"model: the framework computes output {output.name!r} up to "
                f"{output.runtime_error:.1%} away from exact arithmetic, which errors and bounds "
                f"speak of; the error there is {output.runtime_discrepancy:.1%}",
                RuntimeMismatchWarning,
            )


def _unproved(layer: LayerReport) -> str:
    gap = "" if layer.gap is None else f", gap {layer.gap:.1e}"
    return f"{layer.name} ({layer.status}{gap})"
