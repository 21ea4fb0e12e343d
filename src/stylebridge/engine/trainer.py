"""The trainer: runs the phases of any method, one stage of a run. It knows no method."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor, nn

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.config import OptimizerConfig, TrainerConfig
from stylebridge.engine.ema import make_average, update_average
from stylebridge.engine.logs import MetricLog, StepProgress
from stylebridge.engine.memory import keeping_freed_memory
from stylebridge.engine.method import Batch, Method, Phase, Step, Term
from stylebridge.engine.optim import make_optimizer, pack_optimizer, set_learning_rate, unpack_optimizer
from stylebridge.engine.processes import average_gradients, broadcast_state
from stylebridge.engine.rng import pack_rng, seed_everything, unpack_rng
from stylebridge.errors import RecipeError, RunError, TrainingStopped

#: Opens a stream of batches of ``images`` a process, starting at the given micro-batch number.
OpenStream = Callable[[int], Iterable[Batch]]

_MAX_SKIPPED_FP16_STEPS = 20


class Trainer:
    """Runs one stage: ``config.steps`` steps of a method's phases, with checkpoints, logs and resume.

    Args:
        method: its networks are moved to the accelerator's device and trained in place.
        config: lengths, batch, clipping, and how often to log and save.
        optimizers: settings for every network that some phase trains.
        streams: for each stream of the method, how to open it at a micro-batch.
        run: the run folder; written below: ``trainer_state/``, ``metrics.jsonl``, ``tensorboard/``.
        stage: the stage's name; names sort in the order of the stages (``1-source-only``).
        seed: seeds everything random in the stage.
        on_sample: called every ``sample_every`` steps with the number of steps done.

    Raises:
        RecipeError: the optimisers do not match the networks that are trained, or the batch the processes.
    """

    def __init__(
        self,
        method: Method,
        config: TrainerConfig,
        optimizers: dict[str, OptimizerConfig],
        streams: dict[str, OpenStream],
        run: Path,
        stage: str,
        seed: int,
        accelerator: Accelerator,
        on_sample: Callable[[int], None] | None = None,
        console: Console | None = None,
        quiet: bool = False,
    ) -> None:
        self.method, self.config, self.streams = method, config, streams
        self.run, self.stage, self.seed = run, stage, seed
        self.accelerator, self.on_sample = accelerator, on_sample
        self.console, self.quiet = console, quiet
        self.folder = run / "trainer_state"
        self.phases = list(method.phases())
        self.optimizer_configs = optimizers
        self.step = 0
        self._skipped = 0
        self._check()
        seed_everything(seed, accelerator.process_index)
        self._place_networks()
        self.trainable = {
            name: [p for p in network.parameters() if p.requires_grad]
            for name, network in method.networks.items()
        }
        self.optimizers = {
            name: accelerator.prepare_optimizer(
                make_optimizer(name, method.parameter_groups(name), optimizers[name]), device_placement=False
            )
            for name in self._trained_names()
        }
        for name, average in method.averages.items():
            method.networks[name] = make_average(method.networks[average.of])
        self._freeze_all()
        broadcast_state(method.networks.values(), accelerator, parameters=True)

    # ------------------------------------------------------------------ set-up

    def _trained_names(self) -> list[str]:
        return sorted({name for phase in self.phases for name in phase.trains})

    def _check(self) -> None:
        trained, given = set(self._trained_names()), set(self.optimizer_configs)
        if trained != given:
            raise RecipeError(
                f"stage {self.stage}: optimizers are given for {sorted(given)}, but {self.method.name} trains "
                f"{sorted(trained)}: give exactly these under `optimizers`."
            )
        pieces = self.accelerator.num_processes * self.config.accumulate
        if self.config.batch % pieces:
            raise RecipeError(
                f"stage {self.stage}: batch {self.config.batch} cannot be split over {pieces} "
                f"(processes × accumulate): make it a multiple."
            )

    def _place_networks(self) -> None:
        memory_format = torch.channels_last if self.config.channels_last else torch.preserve_format
        for name, network in self.method.networks.items():
            if self.accelerator.num_processes > 1 and self.accelerator.device.type == "cuda":
                network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
            network = network.to(self.accelerator.device, memory_format=memory_format)  # type: ignore[call-overload]
            # Batch norm and dropout of a network that no phase trains must behave as in use.
            self.method.networks[name] = network.train(name in self._trained_names())
        for module in self.method.local.values():
            module.to(self.accelerator.device)

    @property
    def images_per_micro_batch(self) -> int:
        """Images of one stream that this process takes at a time."""
        return self.config.batch // (self.accelerator.num_processes * self.config.accumulate)

    # ------------------------------------------------------------------ the loop

    def fit(self) -> None:
        """Train from where :meth:`resume` left off (or from step 0) to the end; ends with a checkpoint.

        Raises:
            TrainingStopped: a loss or a gradient is not finite; nothing was stepped with it.
            CheckpointError: the run folder cannot be written.
        """
        main = self.accelerator.is_main_process
        if main:
            self.folder.mkdir(parents=True, exist_ok=True)
            ckpt.clear_leftovers(self.folder)
        self.accelerator.wait_for_everyone()
        with ckpt.explain_full_disk(f"the log of {self.run}", self.folder):
            log = MetricLog(self.run, self.stage, self._log_offset, self.step) if main else None
        progress = StepProgress(
            self.stage, self.config.steps, self.step, self.console, main and not self.quiet
        )
        batches = self._micro_batches()
        on_cpu = self.accelerator.device.type == "cpu"
        try:
            with keeping_freed_memory() if on_cpu else contextlib.nullcontext():
                while self.step < self.config.steps:
                    values = self._run_step([next(batches) for _ in range(self.config.accumulate)])
                    self.step += 1
                    with ckpt.explain_full_disk(f"the log of {self.run}", self.folder):
                        self._tell(log, progress, values)
                    if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                        self.save(log)
        finally:
            batches.close()
            progress.close()
            if log is not None:
                log.close()

    def _tell(self, log: MetricLog | None, progress: StepProgress, values: dict[str, float]) -> None:
        if log is None:
            return
        log.add(values, self.config.batch * len(self.streams))
        last = self.step == self.config.steps
        due = self.step % self.config.log_every == 0 or self.step % self.config.checkpoint_every == 0 or last
        progress.advance(self.step, log.write(self.step) if due else {})
        every = self.config.sample_every
        if self.on_sample is not None and every and (self.step % every == 0 or last):
            self.on_sample(self.step)

    def _micro_batches(self) -> Generator[Step, None, None]:
        first = self.step * self.config.accumulate
        opened = {name: iter(open_stream(first)) for name, open_stream in self.streams.items()}
        number = first
        try:
            while True:
                step, micro = divmod(number, self.config.accumulate)
                yield Step(
                    number=step,
                    micro=micro,
                    batch={name: self._to_device(next(stream)) for name, stream in opened.items()},
                    device=self.accelerator.device,
                    seed=self.seed,
                    process_index=self.accelerator.process_index,
                    process_count=self.accelerator.num_processes,
                    sum_over_processes=lambda value: self.accelerator.reduce(value, "sum"),  # type: ignore
                )
                number += 1
        finally:
            for stream in opened.values():
                close = getattr(stream, "close", None)
                if close is not None:
                    close()

    def _to_device(self, batch: Batch) -> Batch:
        moved = {k: v.to(self.accelerator.device, non_blocking=True) for k, v in batch.items()}
        image = moved["image"]
        if image.dtype == torch.uint8:
            image = image.float().div_(255)
        memory_format = torch.channels_last if self.config.channels_last else torch.contiguous_format
        moved["image"] = image.contiguous(memory_format=memory_format)
        if "label" in moved:
            moved["label"] = moved["label"].long()
        return moved

    def _run_step(self, steps: list[Step]) -> dict[str, float]:
        values: dict[str, float] = {}
        for phase in self.phases:
            if self.step % phase.every == 0:
                values |= self._run_phase(phase, steps)
        for name, average in self.method.averages.items():
            network = self.method.networks[average.of]
            update_average(self.method.networks[name], network, average, self.step)
        broadcast_state(
            (self.method.networks[n] for n in (*self._trained_names(), *self.method.averages)),
            self.accelerator,
            parameters=False,
        )
        return values

    def _run_phase(self, phase: Phase, steps: list[Step]) -> dict[str, float]:
        for name in phase.trains:
            for parameter in self.trainable[name]:
                parameter.requires_grad_(True)
        terms: dict[str, Tensor] = {}
        for step in steps:
            for together in self._terms(phase, step):
                total = sum(term.value * term.weight for term in together)
                self.accelerator.backward(total / len(steps))
                for term in together:
                    told = term.value.detach().float() / len(steps)
                    terms[term.name] = terms[term.name] + told if term.name in terms else told
        self._freeze_all(phase.trains)
        for name in phase.trains:
            average_gradients(self.trainable[name], self.accelerator)
        return self._step_optimizers(phase, terms)

    def _terms(self, phase: Phase, step: Step) -> Iterator[list[Term]]:
        losses = phase.losses(step)
        while True:
            with self.accelerator.autocast():
                terms = next(losses, None)
            if terms is None:
                return
            yield terms if isinstance(terms, list) else [terms]

    def _freeze_all(self, names: Iterable[str] | None = None) -> None:
        """Between phases every network is frozen, so that no phase computes gradients for another's weights."""
        for name in names if names is not None else self.trainable:
            for parameter in self.trainable[name]:
                parameter.requires_grad_(False)

    def _step_optimizers(self, phase: Phase, terms: dict[str, Tensor]) -> dict[str, float]:
        norms = {}
        for name in phase.trains:
            self.accelerator.unscale_gradients(self.optimizers[name])
            norms[name] = _gradient_norm(self.trainable[name], self.accelerator.device)
        # One transfer to the CPU a phase: the losses (mean over processes) and the gradient norms together.
        numbers = torch.stack([*terms.values(), *norms.values()])
        numbers = self.accelerator.reduce(numbers, "mean").tolist()  # type: ignore[union-attr]
        losses = dict(zip(terms, numbers, strict=False))
        gradient_norms = dict(zip(norms, numbers[len(terms) :], strict=True))
        self._stop_if_not_finite(phase, losses, gradient_norms)
        told = {f"loss/{phase.name}/{name}": value for name, value in losses.items()}
        for name in phase.trains:
            optimizer, config = self.optimizers[name], self.optimizer_configs[name]
            factor = config.schedule.factor(self.step, self.config.steps)
            set_learning_rate(optimizer, factor)
            self._clip(name, gradient_norms[name])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            told[f"lr/{name}"] = config.lr * factor
            if math.isfinite(gradient_norms[name]):
                told[f"grad_norm/{name}"] = gradient_norms[name]
        return told

    def _clip(self, name: str, norm: float) -> None:
        largest = self.config.clip_gradient
        if largest is not None and math.isfinite(norm) and norm > largest:
            gradients = [p.grad for p in self.trainable[name] if p.grad is not None]
            torch._foreach_mul_(gradients, largest / norm)  # pyright: ignore[reportPrivateImportUsage]

    def _stop_if_not_finite(self, phase: Phase, losses: dict[str, float], norms: dict[str, float]) -> None:
        wrong = [f"loss {name!r} is {value}" for name, value in losses.items() if not math.isfinite(value)]
        wrong_gradients = [name for name, value in norms.items() if not math.isfinite(value)]
        if not wrong and wrong_gradients and self.accelerator.scaler is not None:
            # fp16: the scaler finds its scale by overflowing now and then, and skips those steps itself.
            self._skipped += 1
            if self._skipped < _MAX_SKIPPED_FP16_STEPS:
                return
        elif not wrong and not wrong_gradients:
            self._skipped = 0
            return
        if not wrong:
            parameter = _first_bad_parameter(self.method.networks[wrong_gradients[0]])
            wrong = [f"the gradient of {wrong_gradients[0]}.{parameter} is not finite (losses: {losses})"]
        kept = ckpt.find_checkpoints(self.folder)
        good = f"the last good checkpoint is {kept[-1].path}" if kept else "no checkpoint was written yet"
        raise TrainingStopped(
            f"Stage {self.stage}, step {self.step}, phase {phase.name!r}: {'; '.join(wrong)}. Nothing was "
            f"stepped with it; {good}. Lower the learning rate, clip gradients (clip_gradient) or use fp32."
        )

    # ------------------------------------------------------------------ checkpoints

    _log_offset: int | None = None

    def save(self, log: MetricLog | None = None) -> None:
        """Write a checkpoint of everything that decides how the run goes on."""
        writer = ckpt.CheckpointWriter(self.folder, self.stage, self.step)
        main, rank = self.accelerator.is_main_process, self.accelerator.process_index
        try:
            with ckpt.explain_full_disk(f"checkpoint {writer.final}", self.folder):
                if main:
                    writer.open()
                self.accelerator.wait_for_everyone()
                self._save_process(writer.partial, rank)
                if main:
                    self._save_shared(writer.partial, log.offset() if log is not None else 0)
                self.accelerator.wait_for_everyone()
                if main:
                    writer.commit(self.config.keep_checkpoints)
        except BaseException:
            writer.abandon()
            raise

    def _save_process(self, folder: Path, rank: int) -> None:
        tensors, scalars = pack_rng()
        for name, module in self.method.local.items():
            tensors |= {f"local.{name}.{key}": value for key, value in module.state_dict().items()}
        ckpt.save_tensors(tensors, folder / f"process-{rank}.safetensors")
        ckpt.save_json(scalars, folder / f"process-{rank}.json")

    def _save_shared(self, folder: Path, log_offset: int) -> None:
        scalars: dict[str, Any] = {}
        for name, network in self.method.networks.items():
            ckpt.save_tensors(network.state_dict(), folder / f"network.{name}.safetensors")
        for name, optimizer in self.optimizers.items():
            tensors, scalars[name] = pack_optimizer(optimizer)
            ckpt.save_tensors(tensors, folder / f"optimizer.{name}.safetensors")
        scaler = self.accelerator.scaler
        state = {
            "stage": self.stage,
            "step": self.step,
            "processes": self.accelerator.num_processes,
            "seed": self.seed,
            "draws": dict.fromkeys(self.streams, self.step * self.config.batch),
            "metrics_offset": log_offset,
            "optimizers": scalars,
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        ckpt.save_json(state, folder / "state.json")

    def resume(self, saved: ckpt.Checkpoint) -> None:
        """Take up a checkpoint of this stage: the run goes on as if it had not been interrupted.

        Raises:
            RunError: the checkpoint is of another stage, process count or recipe.
        """
        state, rank = saved.state(), self.accelerator.process_index
        if state["stage"] != self.stage or state["processes"] != self.accelerator.num_processes:
            raise RunError(
                f"{saved.path} was written by stage {state['stage']!r} on {state['processes']} process(es), not by "
                f"{self.stage!r} on {self.accelerator.num_processes}: resume with the same recipe and launch."
            )
        for name, network in self.method.networks.items():
            ckpt.load_network(network, saved.path / f"network.{name}.safetensors")
        for name, optimizer in self.optimizers.items():
            tensors = ckpt.load_file(saved.path / f"optimizer.{name}.safetensors")
            unpack_optimizer(optimizer, tensors, state["optimizers"][name])
        tensors = ckpt.load_file(saved.path / f"process-{rank}.safetensors")
        for name, module in self.method.local.items():
            prefix = f"local.{name}."
            mine = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(mine)
        unpack_rng(tensors, ckpt.json.loads((saved.path / f"process-{rank}.json").read_text()))
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        self._log_offset = state["metrics_offset"]


def _gradient_norm(parameters: list[nn.Parameter], device: torch.device) -> Tensor:
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=device)
    norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
    return torch.stack(norms).float().norm()


def _first_bad_parameter(network: nn.Module) -> str:
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return name
    return "?"
