"""A training under way: its epochs, and itself on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..base.storage import open_to_write, refuse_changes, write_atomically
from ..models.adapters.torch.data import iterate_batches
from .cost import ComplexityCost
from .gates import UnitGates
from .history import Epoch
from .identity import find_generators, hash_value, qualified_name
from .losses import Loss

__all__ = ["Batches", "Settings", "Training"]

Batches = Iterable[Any]
FORMAT = 3


@dataclass(frozen=True)
class Settings:
    """What a training is told; see `ParsimoniousTrainer`."""

    loss: Loss
    optimizer: Callable[..., torch.optim.Optimizer]
    lr: float
    weight_decay: float
    update_every: int
    gating: dict[str, Any]


@dataclass
class Training:
    """The state between two epochs.

    Attributes
    ----------
    model : torch.nn.Module
    settings : Settings
    gates : UnitGates
    optimizer : torch.optim.Optimizer
    schedule : torch.optim.lr_scheduler.LRScheduler
    epochs, fine_tune : int
        With gates, and behind them without.
    batches : int
        Of an epoch.
    history : list of Epoch
    origin : dict of str to str
        Hashes of the model and of the data as they were at the beginning.
    step : int
        Steps of the weights so far.
    """

    model: nn.Module
    settings: Settings
    gates: UnitGates
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    epochs: int
    fine_tune: int
    batches: int
    history: list[Epoch]
    origin: dict[str, str]
    step: int = 0

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next(self.model.parameters()).device

    @property
    def total(self) -> int:
        """All epochs, with gates and without."""
        return self.epochs + self.fine_tune

    @property
    def undecided(self) -> int:
        """How many keep probabilities are not near 0 or 1, or were not at the end of the gates."""
        ended = len(self.history) >= self.epochs
        return self.history[self.epochs - 1].undecided if ended else self.gates.undecided

    @classmethod
    def begin(
        cls,
        model: nn.Module,
        settings: Settings,
        example: torch.Tensor,
        epochs: int,
        fine_tune: int,
        batches: int,
        origin: dict[str, str],
    ) -> Training:
        """Put gates on a model, and an optimiser beside it."""
        steps = epochs * batches
        updates = math.ceil(steps / settings.update_every)
        gates = UnitGates(model, example, steps=updates, loss=settings.loss, **settings.gating)
        optimizer = settings.optimizer(_groups(model, settings.weight_decay), lr=settings.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        state = (gates, optimizer, schedule)
        return cls(model, settings, *state, epochs, fine_tune, batches, [], origin)

    def epoch(self, loader: Batches, validation: Batches | None) -> Epoch:
        """Train once on everything, and cut out what has been quiet."""
        began = time.perf_counter()
        gated = len(self.history) < self.epochs
        if len(self.history) == self.epochs:
            self._decide()
        self.model.train()
        total, count, batches = 0.0, 0, 0
        for x, y in iterate_batches(loader, "train_loader", self.device):
            value = self._step(x, y, gated=gated)
            total, count, batches = total + value * len(x), count + len(x), batches + 1
            if not math.isfinite(value):
                raise ValueError(
                    f"lr={self.settings.lr:g}: the loss was {value} in epoch "
                    f"{len(self.history) + 1}; take a smaller one"
                )
        if batches != self.batches:
            raise ValueError(
                f"train_loader had {self.batches} batches at first and {batches} in "
                f"epoch {len(self.history) + 1}; it must be walked anew every time"
            )
        self.gates.prune(self.optimizer)
        seconds = time.perf_counter() - began
        judged = (None, None) if validation is None else self._validate(validation)
        size = self.gates.size
        probabilities = self.gates.keep_probabilities
        self.history.append(
            Epoch(
                epoch=len(self.history) + 1,
                loss=total / count,
                widths=self.gates.widths,
                sections=len(self.gates.sections),
                keep_probabilities={name: p.tolist() for name, p in probabilities.items()},
                parameters=size.parameters,
                flops=size.flops,
                undecided=self.gates.undecided,
                seconds=seconds,
                validation_loss=judged[0],
                accuracy=judged[1],
            )
        )
        return self.history[-1]

    def _decide(self) -> None:
        """Leave the gates behind; the rate falls from the beginning once more."""
        self.gates.finish(self.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        steps = self.fine_tune * self.batches
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)

    def _step(self, x: torch.Tensor, y: torch.Tensor, *, gated: bool) -> float:
        if gated and self.step % self.settings.update_every == 0:
            self.gates.update(x, y)
        self.step += 1
        outputs = self.gates(x) if gated else self.model(self.gates.selected(x))
        loss = self.gates.losses(outputs, y).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def _validate(self, validation: Batches) -> tuple[float, float | None]:
        """Return the mean loss with decided gates and, if targets are classes, the accuracy."""
        self.model.eval()
        total, right, count = 0.0, 0, 0
        classes = True
        with torch.no_grad():
            for x, y in iterate_batches(validation, "validation", self.device):
                outputs = self.gates(x)
                total, count = total + float(self.gates.losses(outputs, y).sum()), count + len(x)
                classes = classes and _are_classes(outputs, y)
                right += int((outputs.argmax(dim=1) == y).sum()) if classes else 0
        return total / count, right / count if classes else None

    # --- on disk --------------------------------------------------------------------------------

    def save(self, path: Path, loader: Batches) -> None:
        """Write all that the rest of the run depends on, whole or not at all."""
        state = {
            "identity": self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "gates": self.gates.state_dict(),
            "history": [asdict(epoch) for epoch in self.history],
            "random": torch.get_rng_state(),
            "loader": [generator.get_state() for generator in find_generators(loader)],
        }
        with write_atomically(path) as temporary, open_to_write(temporary) as stream:
            torch.save({**state, "hash": hash_value(state)}, stream)

    def resume(self, path: Path, loader: Batches) -> None:
        """Go on where a file says, if there is one."""
        if not path.exists():
            return
        state = _read(path)
        refuse_changes(state["identity"], self._identity(), path)
        self.gates.load_state_dict(state["gates"], self.optimizer)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history += [Epoch(**epoch) for epoch in state["history"]]
        self.step = len(self.history) * self.batches
        torch.set_rng_state(state["random"])
        for generator, before in zip(find_generators(loader), state["loader"], strict=True):
            generator.set_state(before)

    def _identity(self) -> dict[str, Any]:
        """Return what the answer depends on."""
        gating = {
            key: asdict(value) if isinstance(value, ComplexityCost) else value
            for key, value in self.settings.gating.items()
        }
        options = {
            name: getattr(self.settings, name) for name in ("lr", "weight_decay", "update_every")
        }
        return {
            "format": FORMAT,
            **self.origin,
            "epochs": self.epochs,
            "fine_tune": self.fine_tune,
            "batches": self.batches,
            **options,
            "optimizer": type(self.optimizer).__name__,
            "options of the optimizer": hash_value(self.optimizer.defaults),
            "loss": qualified_name(self.settings.loss),
            **gating,
        }


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Raises
    ------
    ValueError
        If it is none, or damaged.
    """
    try:
        state = torch.load(path, weights_only=True)
        expected = state.pop("hash")
        damaged = hash_value(state) != expected
    except Exception as error:  # noqa: BLE001 (whatever a damaged file provokes)
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ValueError(
            f"checkpoint {str(path)!r} is not a checkpoint of nettrim, or is damaged: {reason}"
        ) from None
    if damaged:
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged: its arrays are not those that were written"
        )
    return dict(state)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return weights, which decay, and the parameters that do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    weights = [p for p in trained if p.dim() > 1]
    others = [p for p in trained if p.dim() <= 1]
    groups = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _are_classes(outputs: Any, targets: torch.Tensor) -> bool:
    whole_numbers = not targets.is_floating_point() and targets.dim() == 1
    return whole_numbers and isinstance(outputs, torch.Tensor) and outputs.dim() == 2
