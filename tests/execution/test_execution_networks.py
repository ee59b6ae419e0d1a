"""Networks on any executor: the same answers, layers side by side, checkpoints."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from nettrim.layer.blocks import workers
from support.executors import Here, Watched, assert_same_layer, assert_same_network, trim


@pytest.mark.parametrize("kind", ["threads", "processes", "dask"])
@pytest.mark.parametrize("scheme", ["cascade", "parallel"])
def test_a_network_does_not_depend_on_the_executor(scheme, kind, request, digits):
    executor = request.getfixturevalue(kind)
    here = trim(digits, scheme=scheme)
    there = trim(digits, scheme=scheme, executor=executor)
    assert_same_network(here, there)


def test_layers_of_the_parallel_scheme_run_side_by_side(processes, digits):
    watched = Watched(processes)
    there = trim(digits, scheme="parallel", executor=watched)
    assert len(watched.sizes) == len(there.layers)  # one task each
    assert max(watched.sizes) < 5_000
    alone = trim(digits, scheme="parallel", n_threads=1)
    for a, b in zip(there.layers, alone.layers, strict=True):
        assert a.l1_after == b.l1_after  # the same solve, elsewhere


def test_few_layers_are_shared_out(digits):
    watched = Watched(Here())
    shared_out = trim(digits, scheme="parallel", layers=["dense1"], executor=watched)
    assert len(watched.sizes) >= 6  # rounds of two blocks
    assert_same_layer(shared_out.layers[0], trim(digits, scheme="parallel").layers[0])


def test_a_checkpoint_holds_with_and_without_an_executor(processes, digits, tmp_path):
    first = trim(digits, scheme="parallel", executor=processes, checkpoint=tmp_path / "run")
    watched = Watched(processes)
    second = trim(digits, scheme="parallel", executor=watched, checkpoint=tmp_path / "run")
    third = trim(digits, scheme="parallel", checkpoint=tmp_path / "run")
    assert not watched.sizes
    for a, b, c in zip(first.layers, second.layers, third.layers, strict=True):
        assert a.l1_after == b.l1_after == c.l1_after


def test_an_interrupt_keeps_finished_layers(digits, monkeypatch):
    class OneOnly(Here):
        """Finishes the first task and no other."""

        futures: list[Future]

        def __init__(self):
            self.futures = []

        def submit(self, fn, /, *args, **kwargs):
            first = super().submit(fn, *args, **kwargs) if not self.futures else Future()
            self.futures.append(first)
            return first

    def wait(futures, **options):
        if len(futures) < 3:
            raise KeyboardInterrupt
        return execution_wait(futures, **options)

    execution_wait, one_only = workers.wait, OneOnly()
    monkeypatch.setattr(workers, "wait", wait)
    result = trim(digits, scheme="parallel", executor=one_only)
    assert result.interrupted
    assert [layer.status == "optimal" for layer in result.layers] == [True, False, False]
    assert result.layers[0].nonzeros_after < result.layers[0].nonzeros_before
    assert [future.cancelled() for future in one_only.futures] == [False, True, True]
