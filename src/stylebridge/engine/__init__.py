"""The training engine: phases, the trainer that runs them, checkpoints, averages, schedules and logs."""

from stylebridge.engine.config import OptimizerConfig, ScheduleConfig, TrainerConfig
from stylebridge.engine.devices import open_accelerator
from stylebridge.engine.method import Average, Losses, Method, Phase, Step, Term
from stylebridge.engine.trainer import Trainer

__all__ = [
    "Average",
    "Losses",
    "Method",
    "OptimizerConfig",
    "Phase",
    "ScheduleConfig",
    "Step",
    "Term",
    "Trainer",
    "TrainerConfig",
    "open_accelerator",
]
