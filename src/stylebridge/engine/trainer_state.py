"""Write and read the state of a trainer in a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.optim import Optimizer

from stylebridge.engine import checkpoint as ckpt
from stylebridge.engine.config import TrainerConfig
from stylebridge.engine.logs import MetricLog
from stylebridge.engine.method import Batch, Method
from stylebridge.engine.optim import pack_optimizer, unpack_optimizer
from stylebridge.engine.rng import pack_rng, unpack_rng
from stylebridge.errors import RunError


class Resumable(Protocol):
    """What of a trainer a checkpoint holds, and what it needs to write and read one."""

    method: Method
    config: TrainerConfig
    streams: dict[str, Callable[[int], Iterable[Batch]]]
    optimizers: dict[str, Optimizer]
    accelerator: Accelerator
    folder: Path
    stage: str
    seed: int
    step: int
    log_state: dict[str, Any] | None

    def tell(self, sentence: str) -> None: ...


def write_state(trainer: Resumable, log: MetricLog | None) -> None:
    """Write a checkpoint of the complete training state. Every process must call this.

    Raises:
        CheckpointError: the folder cannot be written; the previous checkpoint is intact.
    """
    accelerator = trainer.accelerator
    writer = ckpt.CheckpointWriter(trainer.folder, trainer.stage, trainer.step)
    main, rank = accelerator.is_main_process, accelerator.process_index
    try:
        with ckpt.explain_full_disk(f"checkpoint {writer.final}", trainer.folder):
            if main:
                writer.open()
            accelerator.wait_for_everyone()
            _write_process(trainer, writer.partial, rank)
            if main:
                _write_shared(trainer, writer.partial, log)
            accelerator.wait_for_everyone()
            if main:
                writer.commit(trainer.config.keep_checkpoints)
    except BaseException:
        writer.abandon()
        raise


def _write_process(trainer: Resumable, folder: Path, rank: int) -> None:
    tensors, scalars = pack_rng()
    for name, module in trainer.method.local.items():
        tensors |= {f"local.{name}.{key}": value for key, value in module.state_dict().items()}
    ckpt.save_tensors(tensors, folder / f"process-{rank}.safetensors")
    ckpt.save_json(scalars, folder / f"process-{rank}.json")


def _write_shared(trainer: Resumable, folder: Path, log: MetricLog | None) -> None:
    scalars: dict[str, Any] = {}
    for name, network in trainer.method.networks.items():
        ckpt.save_tensors(network.state_dict(), folder / f"network.{name}.safetensors")
    for name, optimizer in trainer.optimizers.items():
        tensors, scalars[name] = pack_optimizer(optimizer)
        ckpt.save_tensors(tensors, folder / f"optimizer.{name}.safetensors")
    scaler = trainer.accelerator.scaler
    state = {
        "stage": trainer.stage,
        "step": trainer.step,
        "layout": trainer.method.layout,
        "processes": trainer.accelerator.num_processes,
        "seed": trainer.seed,
        "draws": dict.fromkeys(trainer.streams, trainer.step * trainer.config.batch),
        "metrics": log.state() if log is not None else None,
        "optimizers": scalars,
        "scaler": scaler.state_dict() if scaler is not None else None,
    }
    ckpt.save_json(state, folder / "state.json")


def read_state(trainer: Resumable, saved: ckpt.Checkpoint) -> None:
    """Load a checkpoint of the trainer's stage.

    Raises:
        RunError: the checkpoint has another stage, process count or recipe.
    """
    state, rank = saved.state(), trainer.accelerator.process_index
    processes = trainer.accelerator.num_processes
    if state["stage"] != trainer.stage or state["processes"] != processes:
        raise RunError(
            f"{saved.path} was written by stage {state['stage']!r} on {state['processes']} process(es), not by "
            f"{trainer.stage!r} on {processes}: resume with the same recipe and number of processes."
        )
    method, layout = trainer.method, state.get("layout", 1)
    if layout > method.layout:
        raise RunError(
            f"{saved.path} was written by a newer stylebridge (layout {layout} of {method.name}; this version reads "
            f"up to {method.layout}): update stylebridge, then resume."
        )
    conversions = method.conversions(layout) if layout < method.layout else {}
    for name, network in method.networks.items():
        ckpt.load_network(network, saved.path / f"network.{name}.safetensors", conversions.get(name))
    for name, optimizer in trainer.optimizers.items():
        tensors = ckpt.load_file(saved.path / f"optimizer.{name}.safetensors")
        parameters = dict(method.networks[name].named_parameters())
        converted = [(parameters[key], convert) for key, convert in conversions.get(name, {}).items()]
        unpack_optimizer(optimizer, tensors, state["optimizers"][name], converted)
    tensors = ckpt.load_file(saved.path / f"process-{rank}.safetensors")
    for name, module in trainer.method.local.items():
        prefix = f"local.{name}."
        mine = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(mine)
    unpack_rng(tensors, json.loads((saved.path / f"process-{rank}.json").read_text()))
    if state["scaler"] is not None and trainer.accelerator.scaler is not None:
        trainer.accelerator.scaler.load_state_dict(state["scaler"])
    trainer.step = state["step"]
    # Older checkpoints have the offset only, without the window.
    trainer.log_state = state.get("metrics") or {"offset": state.get("metrics_offset", 0)}


def newest_whole(trainer: Resumable) -> ckpt.Checkpoint | None:
    """The newest intact checkpoint of the trainer's stage, or None if there is no checkpoint.

    The main process decides for all. Damaged checkpoints are reported on the console and set aside.

    Raises:
        RunError: all checkpoints are damaged.
    """
    found: list[Any] = [None, None]
    if trainer.accelerator.is_main_process:
        found = list(_look_for_whole(trainer))
    broadcast_object_list(found)
    name, problem = found
    if problem is not None:
        raise RunError(problem)
    saved = {c.path.name: c for c in ckpt.find_checkpoints(trainer.folder)}
    return saved[name] if name is not None else None


def _look_for_whole(trainer: Resumable) -> tuple[str | None, str | None]:
    """The name of the newest intact checkpoint, or an error message if all are damaged."""
    damaged: list[tuple[ckpt.Checkpoint, str]] = []
    for saved in reversed(ckpt.find_checkpoints(trainer.folder)):
        if saved.stage != trainer.stage:
            continue
        damage = saved.damage()
        if damage is None:
            for one, reason in damaged:
                aside = ckpt.set_aside(one.path)
                trainer.tell(
                    f"Checkpoint {one.path} is damaged ({reason}), so training continues from step {saved.step}. "
                    f"The damaged one is kept as {aside}."
                )
            return saved.path.name, None
        damaged.append((saved, damage))
    if not damaged:
        return None, None
    newest, reason = damaged[0]
    return None, (
        f"{newest.path} is damaged ({reason}), and stage {trainer.stage} has no other intact checkpoint: restore "
        f"the folder from a backup, or delete all of {trainer.folder / trainer.stage}-* to train the stage from its "
        f"beginning."
    )
