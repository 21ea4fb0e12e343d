"""The second half of a phase: check losses and gradients, then step the optimisers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.config import OptimizerConfig, TrainerConfig
from stylebridge.engine.finite import first_bad_gradient
from stylebridge.engine.method import Phase
from stylebridge.engine.optim import set_learning_rate
from stylebridge.engine.stopping import StopRequest
from stylebridge.errors import TrainingStopped

_MAX_SKIPPED_FP16_STEPS = 20


@dataclass
class Stepper:
    """Unscales, checks and clips gradients and steps optimisers. Gradients must be equal on all processes.

    With fp16 all optimisers of a phase are unscaled before the first one steps, and the scaler is updated once from all
    of them: a network whose gradients overflowed is not stepped, the others of the phase are.

    Attributes:
        stepped: names of the networks that were stepped since :meth:`begin` (one training step).
        stop: the stop request; it is shared between processes together with the losses.
    """

    stage: str
    folder: Path
    config: TrainerConfig
    accelerator: Accelerator
    networks: dict[str, nn.Module]
    trainable: dict[str, list[nn.Parameter]]
    optimizers: dict[str, torch.optim.Optimizer]
    settings: dict[str, OptimizerConfig]
    stop: StopRequest
    stepped: set[str] = field(default_factory=set)
    _skipped: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin a training step: clear ``stepped``."""
        self.stepped = set()

    def step(self, phase: Phase, terms: dict[str, Tensor], number: int) -> dict[str, float]:
        """Step the optimisers of a phase.

        Args:
            terms: the phase's losses by name, of this process.
            number: the training step, for schedules and messages.

        Returns:
            Values for the log: losses (means over processes), learning rates, gradient norms.

        Raises:
            TrainingStopped: a loss or a gradient is not finite; no optimiser of the phase was stepped.
        """
        # A scaler rejects an optimiser whose network has no gradient.
        moved = [n for n in phase.trains if any(p.grad is not None for p in self.trainable[n])]
        scaler = self._scaler() if moved else None
        norms = {}
        for name in phase.trains:
            if scaler is not None and name in moved:
                scaler.unscale_(self.optimizers[name])
            norms[name] = _gradient_norm(self.trainable[name], self.accelerator.device)
        losses, gradient_norms = self._look(terms, norms)
        self._stop_if_not_finite(phase, losses, gradient_norms, number)
        told = {f"loss/{phase.name}/{name}": value for name, value in losses.items()}
        for name in phase.trains:
            told |= self._step_one(name, gradient_norms[name], number, scaler if name in moved else None)
        if scaler is not None:
            scaler.update()
        return told

    def _look(
        self, terms: dict[str, Tensor], norms: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """One transfer to the CPU: the losses (mean over processes), the gradient norms, and whether any process got a
        stop signal, so that all of them end at the same step."""
        asked = torch.full((), float(self.stop.heard), device=self.accelerator.device)
        numbers = torch.stack([*terms.values(), *norms.values(), asked])
        numbers = self.accelerator.reduce(numbers, "mean").tolist()  # type: ignore[union-attr]
        self.stop.agreed |= numbers[-1] > 0
        losses = dict(zip(terms, numbers, strict=False))
        return losses, dict(zip(norms, numbers[len(terms) : -1], strict=True))

    def _step_one(self, name: str, norm: float, number: int, scaler: Any) -> dict[str, float]:
        optimizer, settings = self.optimizers[name], self.settings[name]
        factor = settings.schedule.factor(number, self.config.steps)
        set_learning_rate(optimizer, factor)
        self._clip(name, norm)
        finite = math.isfinite(norm)
        if scaler is None:
            optimizer.step()
        elif finite:  # otherwise the scaler would skip the step silently
            scaler.step(optimizer)
        optimizer.zero_grad(set_to_none=True)
        told = {f"lr/{name}": settings.lr * factor}
        if finite:
            self.stepped.add(name)
            told[f"grad_norm/{name}"] = norm
        return told

    def _scaler(self) -> Any:
        """The fp16 scaler (``torch.amp.GradScaler``), or None."""
        return self.accelerator.scaler

    def _clip(self, name: str, norm: float) -> None:
        largest = self.config.clip_gradient
        if largest is not None and math.isfinite(norm) and norm > largest:
            gradients = [p.grad for p in self.trainable[name] if p.grad is not None]
            torch._foreach_mul_(gradients, largest / norm)  # pyright: ignore[reportPrivateImportUsage]

    def _stop_if_not_finite(
        self, phase: Phase, losses: dict[str, float], norms: dict[str, float], number: int
    ) -> None:
        wrong = [f"loss {name!r} is {value}" for name, value in losses.items() if not math.isfinite(value)]
        wrong_gradients = [name for name, value in norms.items() if not math.isfinite(value)]
        for name in norms:
            self._skipped[name] = self._skipped.get(name, 0) + 1 if name in wrong_gradients else 0
        if not wrong and not wrong_gradients:
            return
        if not wrong and self._scaler() is not None:
            # fp16: occasional overflows are expected while the scaler adjusts its scale.
            wrong_gradients = [n for n in wrong_gradients if self._skipped[n] >= _MAX_SKIPPED_FP16_STEPS]
            if not wrong_gradients:
                return
        if not wrong:
            parameter = first_bad_gradient(self.networks[wrong_gradients[0]])
            wrong = [f"the gradient of {wrong_gradients[0]}.{parameter} is not finite (losses: {losses})"]
        raise TrainingStopped(
            f"Stage {self.stage}, step {number}, phase {phase.name!r}: {'; '.join(wrong)}. No network was "
            f"stepped; {ckpt.last_good(self.folder)}. {ADVICE}"
        )


#: Remedy for numbers that are not finite.
ADVICE = "Lower the learning rate, clip gradients (clip_gradient) or use fp32."


def _gradient_norm(parameters: list[nn.Parameter], device: torch.device) -> Tensor:
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=device)
    norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
    return torch.stack(norms).float().norm()
