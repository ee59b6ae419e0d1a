"""Thousands of random calls of all entry points: each is answered right or refused by name.

    python tests/random_calls.py --count 10000 --seed 0

draws entry points, sensible and senseless arguments. A call is *right* if all that its answer says
is true, by formulas of the papers computed anew in extended precision; *refused* if a ValueError or
TypeError names an argument that was given; *slow* if it takes longer than the limit; and *wrong* in
every other case: a false number, another exception, a message that names nothing, a warning of
another library, an argument that was changed. Of the right ones some are *unproved*: their answer
says itself that it did not converge. Every call has a seed of its own, and ``--seed N --count 1``
repeats it.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import nettrim
from support import random_command, random_hulls, random_layers, random_models, random_results
from support.random_entry import Arguments, Entry

ENTRIES: tuple[type[Entry], ...] = (
    *random_layers.ENTRIES,
    *random_hulls.ENTRIES,
    *random_models.ENTRIES,
    *random_results.ENTRIES,
    *random_command.ENTRIES,
)
OUTCOMES = ("right", "unproved", "refused", "slow", "wrong")
LIMIT = 20.0  # seconds of a call
OWN_WARNINGS = tuple(
    value
    for value in vars(nettrim).values()
    if isinstance(value, type) and issubclass(value, Warning)
)
OWN_TEXTS = re.compile(r"(model\b|layer '|executor: )")  # of plain warnings about a model


class Slow(BaseException):
    """A call takes too long; nothing is to catch this."""


class Outcome(NamedTuple):
    """How a call ended, and why that is wrong if it is."""

    entry: str
    kind: str
    reason: str = ""


def outcome(seed: int, only: str | None = None, limit: float = LIMIT) -> Outcome:
    """Draw a call, make it, and judge what comes of it."""
    rng = np.random.default_rng(seed)
    entry = drawn(rng, only)
    with tempfile.TemporaryDirectory(prefix="random-calls-") as folder, _inside(folder):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = entry.arguments(rng)
            spoiled = entry.spoil(arguments, rng)
        before = {name: _kept(value) for name, value in arguments.items()}
        try:
            kind, reason = judged(entry, arguments, spoiled, limit)
        except AssertionError as error:
            kind, reason = "wrong", str(error) or _last_line(error)
        except Exception as error:  # noqa: BLE001 (the judge stumbles: a fault of one of the two)
            kind, reason = "wrong", f"{type(error).__name__}: {error} {_place(error)}"
        except Slow:
            kind, reason = "slow", f"more than {limit:g} s"
        changed = [name for name, value in before.items() if not _same(value, arguments[name])]
        if changed:
            kind, reason = "wrong", f"changed its arguments {changed}"
    return Outcome(
        entry.title(), kind, reason and f"{reason}\n    with {_told(arguments, spoiled)}"
    )


def drawn(rng: np.random.Generator, only: str | None) -> Entry:
    """Return an entry point; the draw is the same for every choice."""
    shares = np.array([entry.share for entry in ENTRIES])
    number = int(rng.choice(len(ENTRIES), p=shares / shares.sum()))
    if only is None:
        return ENTRIES[number]()
    return next(entry for entry in ENTRIES if entry.title().lower() == only.lower())()


def judged(
    entry: Entry, arguments: Arguments, spoiled: Sequence[str], limit: float
) -> tuple[str, str]:
    """Make a call; raise an AssertionError or Slow if it does not end well."""
    with _within(limit), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            answer = entry.call(arguments)
        except (ValueError, TypeError) as error:
            return refused(error, arguments, spoiled, entry.paths)
        except OSError as error:
            return denied(error, arguments, spoiled, entry.paths)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error} {_place(error)}") from error
    for warning in heard:
        assert is_own(warning), (
            f"{warning.category.__name__}: {str(warning.message)[:200]} "
            f"({os.path.basename(warning.filename)}:{warning.lineno})"
        )
    with np.errstate(all="ignore"):
        return ("right" if entry.check(arguments, answer) else "unproved"), ""


def refused(
    error: Exception, arguments: Arguments, spoiled: Sequence[str], paths: Collection[str]
) -> tuple[str, str]:
    """Ask a message for the name of an argument that was given."""
    text = str(error)
    if isinstance(error, nettrim.InfeasibleError):
        return "refused", ""
    assert spoiled, f"refused without reason: {text[:300]} {_place(error)}"
    assert "\n" not in text.strip(), f"a message of several lines: {text[:300]}"
    named = quotes(error, arguments, paths) or any(
        re.search(rf"\b{re.escape(name)}\b", text) for name in arguments
    )
    assert named, f"names nothing: {type(error).__name__}: {text[:300]} {_place(error)}"
    return "refused", ""


def denied(
    error: OSError, arguments: Arguments, spoiled: Sequence[str], paths: Collection[str]
) -> tuple[str, str]:
    """Ask whether it was a path that was spoiled."""
    assert spoiled, f"{type(error).__name__}: {error} {_place(error)}"
    assert quotes(error, arguments, paths), f"{type(error).__name__} of another file: {error}"
    return "refused", ""


def quotes(error: Exception, arguments: Arguments, paths: Collection[str]) -> bool:
    """Tell whether a message quotes one of the paths that were given: that is name enough."""
    values = [arguments[name] for name in paths if isinstance(arguments.get(name), str)]
    return any(value and value in str(error) for value in values)


def is_own(warning: warnings.WarningMessage) -> bool:
    """Tell whether a warning is one that nettrim documents."""
    if issubclass(warning.category, OWN_WARNINGS):
        return True
    known = warning.category in (UserWarning, RuntimeWarning)
    return known and OWN_TEXTS.match(str(warning.message)) is not None


@contextmanager
def _within(limit: float) -> Iterator[None]:
    """Interrupt what takes longer than so many seconds."""

    def stop(number: int, frame: Any) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Work in a folder, so that senseless paths do no harm."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _kept(value: Any) -> Any:
    return copy.deepcopy(value) if isinstance(value, (np.ndarray, list)) else value


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, np.ndarray):
        return True
    return repr(one) == repr(other) and str(one.tolist()) == str(other.tolist())


def _place(error: BaseException) -> str:
    """Return where an error was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"({os.path.basename(last.filename)}:{last.lineno})"


def _last_line(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(last.filename)}:{last.lineno}: {last.line}"


def _told(arguments: Arguments, spoiled: Sequence[str]) -> str:
    """Return the arguments in a line, those that were spoiled last."""
    order = [*(name for name in arguments if name not in spoiled), *spoiled]
    told = [f"{name}={_short(arguments[name])}{'!' * (name in spoiled)}" for name in order]
    return ", ".join(told)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__}{value.shape}{value.dtype.str}"
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # whole numbers of thousands of digits
        text = "huge"
    return text if len(text) <= 60 else f"{text[:57]}..."


def table(counts: Counter[tuple[str, str]], seconds: Counter[str]) -> str:
    """Lay out how many calls of each entry point ended how."""
    lines = [f"{'':24}{'calls':>8}" + "".join(f"{kind:>10}" for kind in OUTCOMES) + f"{'s':>8}"]
    totals: Counter[str] = Counter()
    for name in sorted({name for name, _ in counts}):
        row = [counts[(name, kind)] for kind in OUTCOMES]
        totals.update(dict(zip(OUTCOMES, row, strict=True)))
        lines.append(_line(name, row, seconds[name]))
    lines.append(_line("all", [totals[kind] for kind in OUTCOMES], sum(seconds.values())))
    return "\n".join(lines)


def _line(name: str, row: Sequence[int], seconds: float) -> str:
    return f"{name:24}{sum(row):8}" + "".join(f"{n:10}" for n in row) + f"{seconds:8.1f}"


def main() -> int:
    """Run the command line; 0 if nothing is wrong or slow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    names = [entry.title() for entry in ENTRIES]
    parser.add_argument("--only", metavar="ENTRY", help=f"one of {', '.join(names)}")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds of a call")
    options = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    seconds: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.count):
        began = time.perf_counter()
        entry, kind, reason = outcome(seed, options.only, options.limit)
        counts[(entry, kind)] += 1
        seconds[entry] += time.perf_counter() - began
        if kind in ("wrong", "slow"):
            print(f"{kind} {entry} --seed {seed} --count 1: {reason}", flush=True)
    print(table(counts, seconds))
    return int(any(counts[key] for key in counts if key[1] in ("wrong", "slow")))


if __name__ == "__main__":
    sys.exit(main())
