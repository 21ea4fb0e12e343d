"""stylebridge: adapt a segmentation model to a domain without labels."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stylebridge.version import __version__

if TYPE_CHECKING:
    from stylebridge.jobs.apply.mix import mix_images
    from stylebridge.jobs.apply.mixing.grid import mix_grid
    from stylebridge.jobs.apply.mixing.video import mix_video
    from stylebridge.jobs.apply.models.model import load
    from stylebridge.jobs.apply.segment import segment
    from stylebridge.jobs.apply.synthesize import synthesize
    from stylebridge.jobs.apply.translate import translate
    from stylebridge.jobs.datasets.doctor import doctor
    from stylebridge.jobs.datasets.pack import pack
    from stylebridge.jobs.datasets.toy import draw_toy
    from stylebridge.jobs.demo import demo
    from stylebridge.jobs.evaluate.images import evaluate_images
    from stylebridge.jobs.evaluate.mixing import evaluate_mixing
    from stylebridge.jobs.evaluate.pairs import evaluate_pairs
    from stylebridge.jobs.evaluate.segmenter import evaluate
    from stylebridge.jobs.exchange.export import export
    from stylebridge.jobs.exchange.import_weights import import_weights
    from stylebridge.jobs.tasks.adapt import AdaptationResult
    from stylebridge.jobs.train import adapt, train, train_mixer, train_synthesizer, train_translator

# Transparent huge pages for large CPU tensors; torch reads the variable when it allocates its first tensor. Without
# them every new large tensor costs a page fault for each 4 KiB (writing a 157 MB gradient: 78 ms instead of 34 ms).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

#: The public functions and the modules of ``stylebridge.jobs`` that hold them.
_JOBS = {
    "AdaptationResult": "tasks.adapt",
    "adapt": "train",
    "demo": "demo",
    "doctor": "datasets.doctor",
    "draw_toy": "datasets.toy",
    "evaluate": "evaluate.segmenter",
    "evaluate_images": "evaluate.images",
    "evaluate_mixing": "evaluate.mixing",
    "evaluate_pairs": "evaluate.pairs",
    "export": "exchange.export",
    "import_weights": "exchange.import_weights",
    "load": "apply.models.model",
    "mix_grid": "apply.mixing.grid",
    "mix_images": "apply.mix",
    "mix_video": "apply.mixing.video",
    "pack": "datasets.pack",
    "segment": "apply.segment",
    "synthesize": "apply.synthesize",
    "train": "train",
    "train_mixer": "train",
    "train_synthesizer": "train",
    "train_translator": "train",
    "translate": "apply.translate",
}

__all__ = [
    "AdaptationResult",
    "__version__",
    "adapt",
    "demo",
    "doctor",
    "draw_toy",
    "evaluate",
    "evaluate_images",
    "evaluate_mixing",
    "evaluate_pairs",
    "export",
    "import_weights",
    "load",
    "mix_grid",
    "mix_images",
    "mix_video",
    "pack",
    "segment",
    "synthesize",
    "train",
    "train_mixer",
    "train_synthesizer",
    "train_translator",
    "translate",
]


def __getattr__(name: str) -> Any:
    # Lazy: the jobs import torch, which would slow down `import stylebridge` and `stylebridge --help`.
    if name in _JOBS:
        return getattr(import_module(f"stylebridge.jobs.{_JOBS[name]}"), name)
    raise AttributeError(f"module 'stylebridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
