"""The trainer: runs the phases of any method, one stage of a run. Independent of the method."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from stylebridge.data.loader import named_worker_deaths
from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.config import OptimizerConfig, TrainerConfig
from stylebridge.engine.devices import synchronised
from stylebridge.engine.ema import make_average, update_average
from stylebridge.engine.finite import first_bad_tensor
from stylebridge.engine.global_draws import one_of
from stylebridge.engine.logs import MetricLog, StepProgress
from stylebridge.engine.memory import keeping_freed_memory
from stylebridge.engine.method import Batch, Method, Phase, Step, Term
from stylebridge.engine.optim import make_optimizer
from stylebridge.engine.processes import average_gradients, broadcast_state
from stylebridge.engine.rng import seed_everything, seed_phase
from stylebridge.engine.speed import compiled, torch_settings
from stylebridge.engine.stepping import ADVICE, Stepper
from stylebridge.engine.stopping import StopRequest
from stylebridge.engine.trainer_state import newest_whole, read_state, write_state
from stylebridge.errors import RecipeError, TrainingStopped
from stylebridge.layers.global_batch import Part
from stylebridge.terminal import open_console

#: Opens a stream of batches with ``images`` images for each process, from the given micro-batch on.
OpenStream = Callable[[int], Iterable[Batch]]


class Trainer:
    """Runs one stage: ``config.steps`` steps of a method's phases, with checkpoints, logs and resume.

    Args:
        method: its networks are moved to the accelerator's device and trained in place.
        config: lengths, batch, clipping, and how often to log and save.
        optimizers: settings for every trained network.
        streams: for each stream of the method, a function that opens it at a micro-batch.
        run: the run folder; receives ``trainer_state/``, ``metrics.jsonl``, ``tensorboard/``.
        stage: the stage's name; names sort in the order of the stages (``1-source-only``).
        seed: seeds everything random in the stage.
        on_sample: called every ``sample_every`` steps with the number of completed steps, in every process.

    Raises:
        RecipeError: the optimisers do not match the trained networks, or the batch does not match the processes.
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
        self.folder = run / ckpt.STATE_FOLDER
        self.phases = list(method.phases())
        self.optimizer_configs = optimizers
        self.step = 0
        self.log_state: dict[str, Any] | None = None
        self.stop = StopRequest(accelerator.num_processes)
        self._check()
        seed_everything(seed)
        self._place_networks()
        self.trainable = {
            name: [p for p in network.parameters() if p.requires_grad]
            for name, network in method.networks.items()
        }
        self.optimizers = {
            name: make_optimizer(name, method.parameter_groups(name), optimizers[name])
            for name in self._trained_names()
        }
        for name, average in method.averages.items():
            method.networks[name] = make_average(method.networks[average.of])
        self.stepper = Stepper(
            stage,
            self.folder,
            config,
            accelerator,
            method.networks,
            self.trainable,
            self.optimizers,
            optimizers,
            self.stop,
        )
        self._freeze_all()
        broadcast_state(method.networks.values(), accelerator, parameters=True)

    # ------------------------------------------------------------------ set-up

    def _trained_names(self) -> list[str]:
        return sorted({name for phase in self.phases for name in phase.trains})

    def _check(self) -> None:
        trained, given = set(self._trained_names()), set(self.optimizer_configs)
        if trained != given:
            raise RecipeError(
                f"stage {self.stage}: optimizers has settings for {sorted(given)}, but {self.method.name} trains "
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
                network = synchronised(network)
            network = network.to(self.accelerator.device, memory_format=memory_format)  # type: ignore[call-overload]
            # Batch norm and dropout of a network that no phase trains must be in evaluation mode.
            self.method.networks[name] = network.train(name in self._trained_names())
        for module in self.method.local.values():
            module.to(self.accelerator.device)

    @property
    def images_per_micro_batch(self) -> int:
        """Images of one stream in a micro-batch of this process."""
        return self.config.batch // (self.accelerator.num_processes * self.config.accumulate)

    # ------------------------------------------------------------------ the loop

    def fit(self) -> None:
        """Train from the resumed step (or step 0) to the end, and write a checkpoint.

        Ctrl-C or SIGTERM ends training after the current step, with a checkpoint.

        Raises:
            TrainingStopped: a loss, a gradient or a weight is not finite; it was not saved.
            CheckpointError: the run folder cannot be written.
            WorkerError: a data-loading process died.
            Interrupted: a signal ended training; the checkpoint was written.
        """
        main = self.accelerator.is_main_process
        if main:
            with ckpt.explain_full_disk(str(self.folder), self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            ckpt.clear_leftovers(self.folder)
        self.accelerator.wait_for_everyone()
        with ckpt.explain_full_disk(f"the log of {self.run}", self.folder):
            log = MetricLog(self.run, self.stage, self.step, self.log_state) if main else None
        if log is not None and log.notice:
            self.tell(log.notice)
        progress = StepProgress(
            self.stage, self.config.steps, self.step, self.console, main and not self.quiet
        )
        batches = self._micro_batches()
        try:
            with self._running():
                while self.step < self.config.steps:
                    self._advance(batches, log, progress)
            self._check_weights()
        finally:
            batches.close()
            progress.close()
            if log is not None:
                log.close()

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """The context of all steps: signals are deferred, torch switches set, freed memory kept."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(named_worker_deaths())
            stack.enter_context(torch_settings(self.config))
            stack.enter_context(compiled(self.method.networks.values(), self.config.compile))
            if self.accelerator.device.type == "cpu":
                stack.enter_context(keeping_freed_memory())
            stack.enter_context(self.stop)
            yield

    def _advance(self, batches: Iterator[Step], log: MetricLog | None, progress: StepProgress) -> None:
        """One step, its log, and a checkpoint if one is due."""
        values = self._run_step([next(batches) for _ in range(self.config.accumulate)])
        self.step += 1
        with ckpt.explain_full_disk(f"the log of {self.run}", self.folder):
            self._tell(log, progress, values)
        last = self.step == self.config.steps
        if last or self.stop.agreed or self.step % self.config.checkpoint_every == 0:
            self.save(log)
        if self.stop.agreed:
            raise self.stop.interruption(f"step {self.step} of {self.config.steps} of stage {self.stage}")

    def _tell(self, log: MetricLog | None, progress: StepProgress, values: dict[str, float]) -> None:
        last = self.step == self.config.steps
        if log is not None:
            log.add(values, self.config.batch * len(self.streams))
            due = (
                self.step % self.config.log_every == 0
                or self.step % self.config.checkpoint_every == 0
                or last
            )
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
        self.stepper.begin()
        for phase in self.phases:
            if self.step % phase.every == 0:
                values |= self._run_phase(phase, steps)
        for name, average in self.method.averages.items():
            if average.of in self.stepper.stepped:
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
            seed_phase(
                self.seed,
                step.number,
                step.micro,
                self.phases.index(phase),
                step.device,
                process=step.process_index if self.config.compile else 0,
            )
            for together in self._terms(phase, step):
                total = sum(term.value * term.weight for term in together)
                self.accelerator.backward(total / len(steps))
                for term in together:
                    told = term.value.detach().float() / len(steps)
                    terms[term.name] = terms[term.name] + told if term.name in terms else told
        self._freeze_all(phase.trains)
        for name in phase.trains:
            average_gradients(self.trainable[name], self.accelerator)
        return self.stepper.step(phase, terms, self.step)

    def _terms(self, phase: Phase, step: Step) -> Iterator[list[Term]]:
        losses = phase.losses(step)
        part = Part(step.process_index, step.process_count, self.images_per_micro_batch)
        while True:
            with self.accelerator.autocast(), one_of(part, draws=not self.config.compile):
                terms = next(losses, None)
            if terms is None:
                return
            yield terms if isinstance(terms, list) else [terms]

    def _freeze_all(self, names: Iterable[str] | None = None) -> None:
        """Freeze networks between phases, so that no phase computes gradients for weights it does not train."""
        for name in names if names is not None else self.trainable:
            for parameter in self.trainable[name]:
                parameter.requires_grad_(False)

    # ------------------------------------------------------------------ checkpoints

    def save(self, log: MetricLog | None = None) -> None:
        """Write a checkpoint of the complete training state.

        Raises:
            TrainingStopped: a weight is not finite; nothing was written.
            CheckpointError: the folder cannot be written; the previous checkpoint is intact.
        """
        self._check_weights()
        write_state(self, log)

    def _check_weights(self) -> None:
        bad = first_bad_tensor(self.method.networks)
        if bad is not None:
            network, name = bad
            raise TrainingStopped(
                f"Stage {self.stage}: after step {self.step} the tensor {name} of network {network!r} is not "
                f"finite. It was not saved; {ckpt.last_good(self.folder)}. {ADVICE}"
            )

    def resume(self, saved: ckpt.Checkpoint) -> None:
        """Load a checkpoint of this stage; training continues as if it had not been interrupted.

        Raises:
            RunError: the checkpoint has another stage, process count or recipe.
        """
        read_state(self, saved)

    def resume_newest(self) -> bool:
        """Load the newest intact checkpoint of this stage; returns whether there is one.

        Damaged checkpoints are reported on the console and set aside.

        Raises:
            RunError: all checkpoints of the stage are damaged, or the checkpoint has another recipe.
        """
        saved = newest_whole(self)
        if saved is not None:
            read_state(self, saved)
        return saved is not None

    def tell(self, sentence: str) -> None:
        """Print a notice, if this is the main process and it is not quiet."""
        if self.accelerator.is_main_process and not self.quiet:
            (self.console or open_console(stderr=True)).print(sentence, highlight=False, markup=False)
