"""Gates on the units of a module, for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..base.arguments import check_choice, check_integer
from ..base.errors import warn_user
from .cost import ComplexityCost, Size, cost_of
from .estimators import ESTIMATORS, Differences, estimate, one_flip
from .gated import GatedModel
from .gated_program import undisturbed
from .keep_probability import KeepProbability, Schedule
from .losses import Loss, cross_entropy, sample_losses
from .onset import Onset
from .slicing import Optimizer
from .structure import INPUTS

__all__ = ["CollapseWarning", "UnitGates"]


class CollapseWarning(UserWarning):
    """Nothing was learned: a layer was about to lose all units, or the loss ended as it began."""


class UnitGates:
    r"""Bernoulli gates on the units of a module, and what decides which of them stay.

    While the module trains, every sample passes each unit with that unit's keep probability,
    independently. The probabilities :math:`\theta` are trained along with the weights `W`, by
    projected stochastic gradient, on

    .. math:: J(W, \theta) = E_{gates}[loss] + \sum_i cost_i\,\theta_i, \qquad 0 \le \theta_i \le 1,

    which is linear in each of them: useless units go to 0 and are cut out of the module on the way,
    the others go to 1. The linear price is what a flattening hyper-prior leaves of a Bernoulli
    prior (docs/mathematics/parsimonious.md#where-the-price-comes-from). `ParsimoniousTrainer` does
    all this in one call.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place; its class and its code stay. torch.fx must be able to trace it.
    example : torch.Tensor of shape (n_samples, ...)
        A batch of inputs, for the shapes.
    unit_cost : float, mapping of str to float, or ComplexityCost
        How many nats of mean training loss a unit must be worth: log(gamma) / n_samples. By layer
        as a mapping (the inputs are called "inputs"); from the size of the network as a
        `ComplexityCost`. Units without a price stay, and their gates are open.
    steps : int
        Calls of `update` in the whole training.
    section_cost : float, optional
        The same for residual sections. Default: sections stay.
    inputs : bool, default False
        Gate the network's inputs too; see `inputs`.
    loss : callable, optional
        Takes outputs and targets, returns one value for each sample. Default the cross-entropy.
    estimator : {"auto", "one-flip", "random-flip", "taylor"}, default "auto"
        How the worth of a unit is estimated
        (docs/mathematics/parsimonious.md#estimating-what-a-unit-is-worth). "auto" flips every gate
        by itself where that takes few runs of the module, and random gates in others.
    samples : int, default 32
        Of a mini-batch, that are used for it.
    repeats : int, default 4
        Random flips of each of them.
    start : float, default 0.5
        Keep probability at the beginning, in (0, 1].
    warm_up, fall, quiet, snap : float, default 0.1, 0.05, 0.01 and 0.1
        Shares of the steps: how long gates are drawn and do not move; how long a useless unit takes
        from `start` to zero; how long a keep probability is zero before its unit goes; how long, at
        the end, units that are proved worthless fall at full speed, all others rise, and a keep
        probability that reaches 0.95 becomes 1 (docs/mathematics/parsimonious.md#steps).
    seed : int, default 0
        Of the gates.

    Attributes
    ----------
    model : torch.nn.Module
    step : int
        Updates so far.
    collapsed : bool
        Whether a layer was about to lose all its units.
    onset : Onset
        Whether training has begun to lower the loss. Until then gates are open and no unit goes.
        With a ``warm_up`` of 0 gates move, and units go only if all of a layer would: it has
        collapsed.
    left_out : dict of str to str
        Layers without gates, and why.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be, or nothing in the model can be gated.

    References
    ----------
    Guenter and Sideris, Robust Learning of Parsimonious Deep Neural Networks, arXiv 2205.04650;
    Concurrent Training and Layer Pruning of Deep Neural Networks, arXiv 2406.04549. Formulas:
    docs/mathematics/parsimonious.md.

    Examples
    --------
    >>> import torch
    >>> from nettrim.parsimonious import UnitGates
    >>> _ = torch.manual_seed(0)
    >>> x, y = torch.randn(256, 2), torch.arange(256) % 2
    >>> x[:, 0] += 4.0 * y
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    >>> gates = UnitGates(net, x, unit_cost=0.01, steps=400)
    >>> for step in range(400):
    ...     gates.update(x, y)
    ...     torch.nn.functional.cross_entropy(gates(x), y).backward()
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    ...     _ = gates.prune(optimizer)
    >>> net = gates.finish(optimizer)
    >>> net[0].out_features == net[2].in_features < 16
    True
    """

    def __init__(
        self,
        model: nn.Module,
        example: torch.Tensor,
        *,
        unit_cost: float | Mapping[str, float] | ComplexityCost,
        steps: int,
        section_cost: float | None = None,
        inputs: bool = False,
        loss: Loss | None = None,
        estimator: str = "auto",
        samples: int = 32,
        repeats: int = 4,
        start: float = 0.5,
        warm_up: float = 0.1,
        fall: float = 0.05,
        quiet: float = 0.01,
        snap: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if not isinstance(example, torch.Tensor) or example.dim() < 2:
            raise TypeError("example must be a tensor with samples along its first axis")
        check_choice(estimator, ESTIMATORS, "estimator")
        self.model = model
        self.schedule = Schedule(steps, start, warm_up, fall, quiet, snap)
        self.samples, self.repeats = (
            check_integer(samples, "samples"),
            check_integer(repeats, "repeats"),
        )
        self.loss: Loss = cross_entropy if loss is None else loss
        self.step = 0
        self.collapsed = False
        self.onset = Onset()
        self._moving = False
        self._cost = cost_of(unit_cost, section_cost)
        self._estimator = estimator
        self._generator = torch.Generator(example.device).manual_seed(
            check_integer(seed, "seed", least=0)
        )
        self._gated = GatedModel(
            model,
            example[:2].detach(),
            inputs=inputs,
            sections=section_cost is not None or isinstance(unit_cost, ComplexityCost),
        )
        self._keep = {
            name: KeepProbability.of(count, start, example.device)
            for name, count in self._gated.counts.items()
        }
        if not self._keep:
            raise ValueError(f"model has no units that can be gated: {self.left_out}")
        self._priced = [name for name, cost in self.costs.items() if cost.any()]
        for name in self._keep.keys() - self._priced:
            self._keep[name] = self._keep[name].at(1.0)
        if isinstance(unit_cost, Mapping) and (unknown := unit_cost.keys() - self._keep.keys()):
            raise ValueError(
                f"unit_cost names {sorted(unknown)}; gates are on {sorted(self._keep)}, left out: "
                f"{self.left_out}"
            )

    # --- what is left ---------------------------------------------------------------------------

    @property
    def left_out(self) -> Mapping[str, str]:
        """Layers without gates, and why."""
        return self._gated.left_out

    @property
    def widths(self) -> dict[str, int]:
        """How many units each group has left, by the name of the layer that makes them."""
        return {name: units.count for name, units in self._gated.structure.units.items()}

    @property
    def sections(self) -> list[str]:
        """The gated sections that are left, by the name of their last layer."""
        return list(self._gated.structure.sections)

    @property
    def size(self) -> Size:
        """Weights of the linear layers and convolutions that are left, and their work."""
        return self._gated.size

    @property
    def inputs(self) -> torch.Tensor | None:
        """The inputs that are left, of those at the beginning; None if all stay, without a gate."""
        return self._keep[INPUTS].members if INPUTS in self._keep else None

    @property
    def keep_probabilities(self) -> dict[str, torch.Tensor]:
        """Of all gates that are left, by group."""
        return {name: keep.probability for name, keep in self._keep.items()}

    @property
    def device(self) -> torch.device:
        """Where the gates are, and the example was."""
        return self._generator.device

    @property
    def undecided(self) -> int:
        """How many keep probabilities are neither below 0.05 nor above 0.95."""
        return sum(int(((p > 0.05) & (p < 0.95)).sum()) for p in self.keep_probabilities.values())

    @property
    def costs(self) -> dict[str, torch.Tensor]:
        """What each gate has to be worth at the keep probabilities of the moment, in nats."""
        return self._cost(self._gated.structure, self.keep_probabilities)

    # --- running --------------------------------------------------------------------------------

    def __call__(self, x: torch.Tensor) -> Any:
        """Run the module; with gates drawn at random while it is in training mode, else decided."""
        x, training = self.selected(x), self.model.training
        masks = self._drawn(x) if training else self._decided(x)
        return self._gated.program(x, masks, training=training)

    def selected(self, x: torch.Tensor) -> torch.Tensor:
        """Return the inputs that are left; these are what the finished model takes."""
        inputs = self.inputs
        if inputs is None or len(inputs) == x.shape[self._gated.input_axis]:
            return x
        return x.index_select(self._gated.input_axis, inputs)

    def update(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take one step of the keep probabilities on a mini-batch, before that of the weights.

        Parameters
        ----------
        x, y : torch.Tensor of shape (n_samples, ...)
            All inputs, and targets.
        """
        step, self.step = self.step, self.step + 1
        if self.collapsed:
            return
        waits = self._waits(x[: self.samples], y[: self.samples], step)
        if waits and not self.schedule.listening(step):
            return
        costs = self.costs
        for name, difference in self.differences(x[: self.samples], y[: self.samples]).items():
            keep = self._keep[name]
            self._keep[name] = (
                keep.updated(difference, self.schedule)
                if waits
                else keep.moved(difference, costs[name], step, self.schedule)
            )

    def _waits(self, x: torch.Tensor, y: torch.Tensor, step: int) -> bool:
        """Whether gates do not move yet; they are open as long as training has not begun."""
        if not self._moving or self._early:
            self._listen(x, y)
        if self._moving:
            return False
        begun = self.onset.begun or self.schedule.warm_up == 0
        warming = self.schedule.rate(step) == 0
        self._moving = begun and not warming
        if warming and begun:
            self._set(self.schedule.start)
        if not begun:
            self._set(1.0)
        return not self._moving

    @property
    def _early(self) -> bool:
        """Whether gates move although training has not begun, without warm-up: their units stay."""
        return self._moving and not self.onset.begun

    def _set(self, probability: float) -> None:
        for name in self._priced:
            self._keep[name] = self._keep[name].at(probability)

    def _listen(self, x: torch.Tensor, y: torch.Tensor) -> None:
        losses, others = self.compared(x, y, drawn=True)
        self.onset = self.onset.updated(
            float(losses.mean()), float(others.mean()), self.schedule.memory
        )

    def compared(
        self, x: torch.Tensor, y: torch.Tensor, *, drawn: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses of outputs, and those of the same outputs with other samples' targets.

        Parameters
        ----------
        x, y : torch.Tensor of shape (n_samples, ...)
        drawn : bool, default False
            Draw the gates at random, as in training; else they are decided.

        Returns
        -------
        losses, others : torch.Tensor of shape (n_samples,)
        """
        x = self.selected(x)
        with undisturbed(self.model):
            masks = self._drawn(x) if drawn else self._decided(x)
            outputs = self._gated.program(x, masks, training=False)
            return self.losses(outputs, y), self.losses(outputs, y.roll(1, dims=0))

    def differences(self, x: torch.Tensor, y: torch.Tensor) -> Differences:
        """Estimate how the loss differs between each gate open and closed, the others drawn.

        Parameters
        ----------
        x, y : torch.Tensor of shape (n_samples, ...)

        Returns
        -------
        dict of str to torch.Tensor of shape (n_gates,)
            float64; negative for a useful unit. Of the groups that have a price.
        """
        x = self.selected(x)
        return estimate(
            self._estimator,
            self._gated.program,
            x,
            y,
            self._drawn(x),
            self.losses,
            passes=self._gated.passes,
            repeats=self.repeats,
            generator=self._generator,
        )

    def leave_one_out(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, Differences]:
        """Measure the loss with all gates open, and how it differs from that with one closed.

        Returns
        -------
        losses : torch.Tensor of shape (n_samples,)
        differences : dict of str to torch.Tensor of shape (n_gates,)
            Negative for a useful unit, as in `differences`.
        """
        x = self.selected(x)
        masks = {
            name: torch.ones(len(x), len(p), dtype=_mask_type(x), device=x.device)
            for name, p in self.keep_probabilities.items()
        }
        with undisturbed(self.model):
            losses = self.losses(self._gated.program(x, {}, training=False), y)
        return losses, one_flip(self._gated.program, x, y, masks, self.losses)

    def losses(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of every sample.

        Raises
        ------
        ValueError
            If ``loss`` does not return one value for each.
        """
        return sample_losses(self.loss, outputs, targets)

    # --- taking units out -----------------------------------------------------------------------

    def prune(self, optimizer: Optimizer | None = None) -> int:
        """Cut out the units whose keep probability has been zero for long enough.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer, optional
            Goes on with what is left of its parameters and of their buffers.

        Returns
        -------
        int
            How many units, inputs and sections went.

        Warns
        -----
        CollapseWarning
            If a layer would have lost all its units.
        """
        quiet = self.schedule.quiet_steps
        kept = {n: k.quiet < quiet for n, k in self._keep.items()}
        if self._early and all(kept[name].any() for name in self.widths):
            return 0
        return self._retain(kept, optimizer)

    def finish(self, optimizer: Optimizer | None = None) -> nn.Module:
        """Decide all gates, cut out the units of those that are closed, and return the model.

        Gates are open whose keep probability is 0.5 or more (or, if less, what it was at first), or
        whose units are not proved to be worth less than they cost; `undecided` tells how many were
        not sure.
        """
        self._retain(self._open, optimizer)
        self._keep = {name: keep.at(1.0) for name, keep in self._keep.items()}
        return self.model

    def _retain(self, kept: dict[str, torch.Tensor], optimizer: Optimizer | None) -> int:
        for name in self.widths:
            if kept[name].any():
                continue
            kept[name][self._keep[name].probability.argmax()] = True
            if self._gated.is_needed(name):  # else the section's own gate decides
                self._collapse(name)
        before = sum(self._gated.counts.values())
        self._gated.retain(kept, optimizer)
        left = self._gated.counts
        self._keep = {name: self._keep[name].narrowed(kept[name]) for name in left}
        return before - sum(left.values())

    def _collapse(self, name: str) -> None:
        if not self.collapsed:
            warn_user(
                f"all units of {name!r} were about to go; one stays, and gates no longer move. A "
                "smaller unit_cost, a longer warm_up or a longer fall keeps more",
                CollapseWarning,
            )
        self.collapsed = True

    # --- masks ----------------------------------------------------------------------------------

    def _drawn(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Draw the gates of every sample, as far as they are not open for good."""
        masks = {}
        for name in [name for name in self._priced if name in self._keep]:
            masks[name] = self._keep[name].drawn(len(x), self._generator).to(_mask_type(x))
        return masks

    def _decided(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the gates as they will be in the end, where some are closed."""
        return {name: m.expand(len(x), -1) for name, m in self._open.items() if not m.all()}

    @property
    def _open(self) -> dict[str, torch.Tensor]:
        if self._early:
            return {n: torch.ones_like(keep.held) for n, keep in self._keep.items()}
        costs = self.costs
        return {n: keep.is_open(costs[n], self.schedule) for n, keep in self._keep.items()}

    # --- on disk --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs beside the model's own state."""
        return {
            "step": self.step,
            "collapsed": self.collapsed,
            "generator": self._generator.get_state(),
            "moving": self._moving,
            "onset": self.onset.state_dict(),
            "keep": {name: keep.state_dict() for name, keep in self._keep.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], optimizer: Optimizer | None = None) -> None:
        """Cut the module down to what was left, and go on from there.

        The model must be as large as at the beginning; load its own state afterwards.

        Raises
        ------
        ValueError
            If it is not.
        """
        stored = {name: KeepProbability.of_state(keep) for name, keep in state["keep"].items()}
        kept = {}
        for name, keep in self._keep.items():
            mask = torch.zeros(len(keep.members), dtype=torch.bool, device=keep.members.device)
            if name in stored:
                if stored[name].members.max() >= len(mask):
                    raise ValueError(f"state is of a model with more units in {name!r}")
                mask[stored[name].members] = True
            kept[name] = mask
        self._gated.retain(kept, optimizer)
        if self._gated.counts.keys() != stored.keys():
            raise ValueError("state is of another model, or of other gates")
        self._keep = stored
        self.step, self.collapsed = state["step"], state["collapsed"]
        self._moving = state["moving"]
        self.onset = Onset.of_state(state["onset"])
        self._generator.set_state(state["generator"])


def _mask_type(x: torch.Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()
