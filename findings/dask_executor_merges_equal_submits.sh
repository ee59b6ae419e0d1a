#!/usr/bin/env bash
# distributed 2026.8.0 (Dask): client.get_executor(), the concurrent.futures.Executor over a Dask cluster.
# Guess: as of every Executor, each submit is one call of the function, and each item of map too.
# Seen: calls of one function on equal arguments are one call, as long as a future of them lives: three draws of a
# random number are thrice the same one, and trying a failed task again hands out the first error without a
# call. client.get_executor(pure=False) calls each time.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check distributed==2026.8.0 dask==2026.8.0
cd "$work"
"$work/env/bin/python" -W ignore - <<'PYTHON'
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distributed import Client, LocalCluster

logging.getLogger("distributed").setLevel(logging.CRITICAL)
calls = Path("calls")

def draw(part):
    return random.random()

def flaky(part):
    with calls.open("a") as file:
        file.write("x")
    if calls.stat().st_size == 1:
        raise OSError("not yet there")
    return "done"

def use(executor):
    calls.write_text("")
    draws = set(executor.map(draw, [0, 0, 0]))
    first = executor.submit(flaky, 0)
    outcomes = [repr(first.exception())]
    second = executor.submit(flaky, 0)
    outcomes.append(repr(second.exception() or second.result()))
    return len(draws), calls.stat().st_size, outcomes

cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
with cluster, Client(cluster) as client:
    seen = {
        "threads": use(ThreadPoolExecutor(1)),
        "Dask": use(client.get_executor()),
        "Dask, pure=False": use(client.get_executor(pure=False)),
    }
for title, (draws, count, outcomes) in seen.items():
    print(f"{title}: {draws} different draws of 3; task tried twice: {count} call(s), {outcomes}")
assert seen["threads"][:2] == seen["Dask, pure=False"][:2] == (3, 2)
assert seen["Dask"][:2] == (1, 1), "this has changed"
PYTHON
