"""An outcome in plain text: the table, its title, and what a reader must not overlook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..base.errors import LARGE_ERROR
from ..base.table import (
    TableColumn,
    format_percent,
    format_share,
    format_table,
    shorten_names,
)
from ..models.layer_view import Untouched
from .blocks import MOST_ROWS, BlockReport, Row, sum_up
from .outcome import Measured, Outcome, OutputReport
from .unseen import Unseen
from .widths import Count, Widths

__all__ = [
    "format_gap",
    "format_headline",
    "format_measured",
    "format_time",
    "format_zeros",
    "join_names",
    "list_cautions",
    "untouched_lines",
    "write_table",
]

ROUNDING = 1e-4  # of the framework, above which it is told beside a bound


def write_table(outcome: Outcome[Any]) -> str:
    """Return the table of an outcome, under a title and above what must not be overlooked."""
    held_out = outcome.held_out_discrepancy is not None
    accounts = sum_up(outcome.layers)
    names = shorten_names([account.name for account in accounts])
    rows = [_row(*pair, held_out) for pair in zip(names, accounts, strict=True)]
    rows += [_stage(name, seconds, held_out) for name, seconds in outcome.stages.items()]
    if len(outcome.outputs) > 1:
        names = shorten_names([output.name for output in outcome.outputs])
        rows += [_output(*pair, held_out) for pair in zip(names, outcome.outputs, strict=True)]
    grid = format_table(_columns(held_out), rows, _total(outcome, held_out))
    lines = [_title(outcome), grid, *_notes(outcome), *_measured_lines(outcome.measured)]
    lines += [] if outcome.promise is None else outcome.promise.lines
    lines += [] if outcome.unseen is None else _unseen_lines(outcome.unseen)
    lines += [] if outcome.widths is None else _width_lines(outcome.widths)
    return "\n".join([*lines, *untouched_lines(outcome.untouched)])


def _title(outcome: Outcome[Any]) -> str:
    """Say in one line what came out."""
    return (
        f"{outcome.scheme} on {outcome.n_samples:,} calibration samples: "
        f"{format_headline(outcome)}, error of the network {format_percent(outcome.discrepancy)}"
    )


def format_headline(outcome: Outcome[Any]) -> str:
    """Say in a few words what was gained."""
    if outcome.widths is None:
        return f"{format_zeros(outcome)} are zero"
    left = [
        f"{format_share(count.after, count.before)} of the {name}"
        for name, count in _counts(outcome.widths).items()
    ]
    return f"{' and '.join(left)} are left"


def _counts(widths: Widths) -> dict[str, Count]:
    return {"parameters": widths.parameters, "operations": widths.operations}


def format_zeros(outcome: Outcome[Any]) -> str:
    """Return the share of zeros in words: of the whole model, and beside it of what was handled."""
    if not outcome.untouched:
        return f"{outcome.sparsity:.1%} of the weights"
    return f"{outcome.model_sparsity:.1%} of all weights ({outcome.sparsity:.1%} of those handled)"


def _columns(held_out: bool) -> list[TableColumn]:
    headings = ["before", "after", "kept", "epsilon", "error", "bound", "gap", "status", "time"]
    if held_out:
        headings.insert(5, "unseen")
    return [TableColumn("layer", "<"), TableColumn("shape"), *map(TableColumn, headings)]


def _row(name: str, layer: Row, held_out: bool) -> list[str]:
    return [
        name,
        _shape(layer),
        f"{layer.nonzeros_before:,}",
        f"{layer.nonzeros_after:,}",
        format_share(layer.nonzeros_after, layer.nonzeros_before),
        format_percent(layer.epsilon),
        format_percent(layer.discrepancy),
        *([format_percent(layer.held_out_discrepancy)] if held_out else []),
        format_percent(layer.bound),
        format_gap(layer.gap),
        layer.status if layer.converged else f"{layer.status}!",
        "" if layer.seconds is None else format_time(layer.seconds),
    ]


def _shape(account: Row) -> str:
    if isinstance(account, BlockReport):
        return f"{len(account.layers)} layers"
    return f"{account.shape[0]}x{account.shape[1]}"


def _total(outcome: Outcome[Any], held_out: bool) -> list[str]:
    return [
        "network",
        "",
        f"{outcome.nonzeros_before:,}",
        f"{outcome.nonzeros_after:,}",
        format_share(outcome.nonzeros_after, outcome.nonzeros_before),
        "",
        format_percent(outcome.discrepancy),
        *([format_percent(outcome.held_out_discrepancy)] if held_out else []),
        format_percent(outcome.bound),
        "",
        "",
        format_time(outcome.seconds),
    ]


def _stage(name: str, seconds: float, held_out: bool) -> list[str]:
    return [name, *[""] * (len(_columns(held_out)) - 2), format_time(seconds)]


def _output(name: str, output: OutputReport, held_out: bool) -> list[str]:
    errors = [format_percent(output.discrepancy), format_percent(output.bound)]
    if held_out:
        errors.insert(1, format_percent(output.held_out_discrepancy))
    return [name, "output", *[""] * 4, *errors, *[""] * 3]


def _measured_lines(measured: Mapping[str, Measured]) -> list[str]:
    """Return what a function of the user says, none without."""
    if not measured:
        return []
    columns = [TableColumn("measured", "<"), TableColumn("before"), TableColumn("after")]
    rows = [
        [name, *map(format_measured, values)]
        for name, values in zip(shorten_names([*measured]), measured.values(), strict=True)
    ]
    return ["", format_table(columns, rows[:-1], rows[-1])]


def _unseen_lines(unseen: Unseen) -> list[str]:
    """Say what held-out samples say of future ones."""
    return ["", f"{unseen.title}:", *(f"- {sentence}" for sentence in unseen.sentences)]


def _width_lines(widths: Widths) -> list[str]:
    """Say how many units are left of each signal, and what that saves."""
    columns = [TableColumn("units", "<"), *map(TableColumn, ("before", "after", "kept"))]
    names = shorten_names([signal.name for signal in widths.signals])
    units = [signal.units for signal in widths.signals]
    rows = [_width_row(*pair) for pair in zip(names, units, strict=True)]
    rows += [_width_row(name, count) for name, count in _counts(widths).items()]
    return ["", format_table(columns, rows[:-1], rows[-1])]


def _width_row(name: str, count: Count) -> list[str]:
    shares = f"{count.before:,}", f"{count.after:,}", format_share(count.after, count.before)
    return [name, *shares]


def untouched_lines(untouched: Sequence[Untouched]) -> list[str]:
    """Name the weights that are left alone, none where there are none."""
    if not untouched:
        return []
    headings = [
        TableColumn("left alone", "<"),
        TableColumn("shape"),
        TableColumn("nonzeros"),
        TableColumn("because", "<"),
    ]
    rows = [
        [name, "x".join(map(str, weight.shape)), f"{weight.nonzeros:,}", weight.reason]
        for name, weight in zip(shorten_names([w.name for w in untouched]), untouched, strict=True)
    ]
    total = ["together", "", f"{sum(weight.nonzeros for weight in untouched):,}", ""]
    return ["", format_table(headings, rows, total)]


def _notes(outcome: Outcome[Any]) -> list[str]:
    """Say what a reader must not overlook."""
    notes = []
    if len(sum_up(outcome.layers)) < len(outcome.layers):
        notes.append("- of a block: the largest error, bound and gap; result.layers has each layer")
    if any(layer.pruned and not layer.converged for layer in outcome.layers):
        notes.append("! not solved to the tolerance: few nonzeros there may be false sparsity")
    if outcome.interrupted:
        notes.append("! interrupted: layers not reached are as they were")
    if not outcome.is_measured:
        notes.append("! interrupted while errors were measured: those without a number are unknown")
    notes += [f"! {head}: {text}" for head, text in list_cautions(outcome)]
    sampled = [layer for layer in outcome.layers if layer.solved_rows != layer.n_rows]
    if sampled:
        told = ", ".join(f"{la.name} {la.solved_rows:,} of {la.n_rows:,}" for la in sampled)
        notes.append(f"- solved on positions drawn at random, measured on all: {told}")
    if math.isinf(outcome.bound):
        notes.append("- not known: nothing bounds how far some step of the model can stretch")
    return notes


def list_cautions(outcome: Outcome[Any]) -> list[tuple[str, str]]:
    """Return what makes an answer worth little although it is proved: heads and texts."""
    found = []
    unchanged = [layer.name for layer in outcome.layers if layer.unchanged]
    if unchanged:
        text = f"what a solve had when it stopped was far beyond epsilon: {join_names(unchanged)}"
        found.append(("layers left as they were", text))
    few = [layer for layer in outcome.layers if layer.few_rows]
    if few:
        told = join_names(
            [f"{layer.name} {layer.active_rows:,} of {layer.shape[0]:,}" for layer in few]
        )
        found.append(("sparse without meaning", f"fewer different active rows than inputs: {told}"))
    if outcome.discrepancy > LARGE_ERROR:
        text = f"its output moved by {format_percent(outcome.discrepancy)}"
        found.append(("the network may do nothing of what it did", text))
    rounding = [output for output in outcome.outputs if (output.runtime_error or 0) > ROUNDING]
    return found + [_rounding(output) for output in rounding]


def join_names(names: Sequence[str]) -> str:
    """Return names in one line; of more than a table has rows, the first ones."""
    more = len(names) - MOST_ROWS
    return ", ".join([*names[:MOST_ROWS], *([f"and {more:,} more"] if more > 0 else [])])


def _rounding(output: OutputReport) -> tuple[str, str]:
    """Say what the framework's arithmetic adds to what was measured and proved in exact one."""
    how = "computes in another way" if output.runtime_differs else "rounds"
    text = (
        f"{output.name!r} is up to {format_percent(output.runtime_error)} off exact arithmetic, of "
        "which error and bound speak; the error there is "
        f"{format_percent(output.runtime_discrepancy)}"
    )
    return f"the framework {how}", text


def format_measured(value: float | None) -> str:
    """Return five digits of a number of the user's own, "-" if it is not known."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.5g}"


def format_gap(gap: float | None) -> str:
    """Return one digit of a gap."""
    return "" if gap is None else f"{gap:.0e}".replace("e-0", "e-")


def format_time(seconds: float) -> str:
    """Return seconds with three digits and at most two decimals; less than that in milliseconds."""
    if 0 < seconds < 0.00995:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.{2 if seconds < 9.995 else 1 if seconds < 99.95 else 0}f} s"
