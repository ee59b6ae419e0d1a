"""What a unit is worth: for every gate, ``E[loss | open] - E[loss | closed]``, estimated.

A negative difference is a useful unit. All estimators take a mini-batch and masks that were drawn
for it, and run the module in evaluation mode with the weights as they are
(docs/mathematics/parsimonious.md#estimating-what-a-unit-is-worth).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .gated_program import GatedProgram, GatedRun, undisturbed
from .losses import Loss

__all__ = ["ESTIMATORS", "Differences", "estimate", "one_flip", "random_flips", "taylor"]

ESTIMATORS = ("auto", "one-flip", "random-flip", "taylor")
Masks = Mapping[str, torch.Tensor]
Differences = dict[str, torch.Tensor]
DEAREST = 128  # runs of the module, for one sample, that flipping every gate by itself may take
LARGEST = 2**21  # entries of a signal of several flips at once: what a cache holds


def estimate(
    kind: str,
    program: GatedProgram,
    x: torch.Tensor,
    y: torch.Tensor,
    masks: Masks,
    loss: Loss,
    *,
    passes: float,
    repeats: int,
    generator: torch.Generator,
) -> Differences:
    """Estimate the differences in one of the ways of `ESTIMATORS`.

    Parameters
    ----------
    kind : str
        "auto" flips every gate by itself where that takes few runs.
    program, x, y, masks, loss
        As in `one_flip`.
    passes : float
        Runs of the module that flipping every gate of a sample by itself takes.
    repeats, generator
        As in `random_flips`.
    """
    if kind == "auto":
        kind = "one-flip" if passes <= DEAREST else "random-flip"
    if kind == "one-flip":
        return one_flip(program, x, y, masks, loss)
    if kind == "taylor":
        return taylor(program, x, y, masks, loss)
    return random_flips(program, x, y, masks, loss, repeats=repeats, generator=generator)


def one_flip(
    program: GatedProgram, x: torch.Tensor, y: torch.Tensor, masks: Masks, loss: Loss
) -> Differences:
    """Flip every gate of every sample alone: unbiased, with the least variance.

    Parameters
    ----------
    program : GatedProgram
    x, y : torch.Tensor of shape (n_samples, ...)
    masks : mapping of str to torch.Tensor of shape (n_samples, n_gates)
        Zeros and ones.
    loss : callable
        Takes outputs and targets, returns a tensor of shape (n_samples,).

    Returns
    -------
    dict of str to torch.Tensor of shape (n_gates,)
        float64.
    """
    with undisturbed(program.traced):
        run = program.run(x, masks)
        before = loss(run.output, y)
        return {name: _flip(run, name, y, before, loss) for name in masks}


def random_flips(
    program: GatedProgram,
    x: torch.Tensor,
    y: torch.Tensor,
    masks: Masks,
    loss: Loss,
    *,
    repeats: int = 4,
    generator: torch.Generator | None = None,
) -> Differences:
    """Flip one gate of every sample, drawn from all gates: unbiased, for any architecture.

    It costs ``repeats + 1`` runs. Gates are drawn in turns, so that none is drawn twice more often
    than another; a gate that is not drawn is estimated to be worth nothing in this step.

    Parameters
    ----------
    program, x, y, masks, loss
        As in `one_flip`.
    repeats : int, default 4
        Flips of every sample.
    generator : torch.Generator, optional

    Returns
    -------
    dict of str to torch.Tensor of shape (n_gates,)
        float64.
    """
    names, sizes = list(masks), [mask.shape[1] for mask in masks.values()]
    gates, count = sum(sizes), repeats * len(x)
    mask = torch.cat([masks[name] for name in names], dim=1)
    turns = [
        torch.randperm(gates, generator=generator, device=mask.device)
        for _ in range(-(-count // gates))
    ]
    drawn = torch.cat(turns)[:count]
    rows = torch.arange(count, device=mask.device)
    flipped = mask.repeat(repeats, 1)
    change = 1 - 2 * flipped[rows, drawn]
    flipped[rows, drawn] += change
    with undisturbed(program.traced):
        every = dict(zip(names, torch.split(torch.cat([mask, flipped]), sizes, dim=1), strict=True))
        tiled = [part.repeat(repeats + 1, *[1] * (part.dim() - 1)) for part in (x, y)]
        losses = loss(program(tiled[0], every, training=False), tiled[1]).double()
    rises = (losses[len(x) :] - losses[: len(x)].repeat(repeats)) * change
    found = torch.zeros(gates, dtype=torch.float64, device=mask.device)
    found.index_add_(0, drawn, rises.double() * gates / count)
    return dict(zip(names, torch.split(found, sizes), strict=True))


def taylor(
    program: GatedProgram, x: torch.Tensor, y: torch.Tensor, masks: Masks, loss: Loss
) -> Differences:
    """Take the derivative by the masks for the difference: one backward run, and biased.

    It undervalues units whose gates are nearly always open, the more the better the weights are
    trained; such gates hover below 1 until they are snapped to it.

    Parameters
    ----------
    program, x, y, masks, loss
        As in `one_flip`.

    Returns
    -------
    dict of str to torch.Tensor of shape (n_gates,)
        float64.
    """
    with undisturbed(program.traced), torch.enable_grad():
        leaves = {name: mask.detach().requires_grad_() for name, mask in masks.items()}
        total = loss(program(x, leaves, training=False), y).sum() / len(x)
        gradients = torch.autograd.grad(total, list(leaves.values()))
    sums = (gradient.double().sum(dim=0) for gradient in gradients)
    return dict(zip(leaves, sums, strict=True))


def _flip(
    run: GatedRun, name: str, y: torch.Tensor, before: torch.Tensor, loss: Loss
) -> torch.Tensor:
    """Return the mean differences of a group; a unit that is zero makes none."""
    mask = run.masks[name]
    samples, gates = run.effective(name)
    rises = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device)
    step = max(1, LARGEST // run.program.widest)
    for rows, units in zip(torch.split(samples, step), torch.split(gates, step), strict=True):
        after = loss(run.flipped(name, rows, units), y[rows])
        rises[rows, units] = (after - before[rows]).double()
    return (rises * (1 - 2 * mask)).mean(dim=0)
