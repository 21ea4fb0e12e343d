"""Every method's tiny cases, trained by one process or by its part of several.

Run as a program, once by each process, it trains all of them, and does all other work that processes share:
`python pair.py DATA FOLDER`.
"""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from stylebridge.engine.devices import Precision
from support.shared_work import together, whole_run
from support.tiny_methods import CASES, make_trainer, weights


def train(name: str, folder: Path, precision: Precision | None = None, steps: int | None = None) -> None:
    """Train a case on this process's part of the batches. Left in the folder: ``metrics.jsonl``, and of each process
    the networks as ``weights-RANK.safetensors``.

    Args:
        precision: None: float64; else weights are float32.
        steps: so many of them; None: all.
    """
    trainer = make_trainer(name, folder, precision, steps)
    trainer.fit()
    save_file(weights(trainer.method), folder / f"weights-{trainer.accelerator.process_index}.safetensors")
    trainer.accelerator.wait_for_everyone()


if __name__ == "__main__":
    torch.set_num_threads(1)
    data, place = Path(sys.argv[1]), Path(sys.argv[2])
    for each in CASES:
        train(each, place / each)
    outcome = together(data, place / "together")
    whole_run(data, place / "run")
    (place / f"together-{os.environ['RANK']}.json").write_text(json.dumps(outcome))
