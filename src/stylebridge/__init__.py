"""stylebridge: carry a segmentation model over to a domain without labels."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stylebridge.version import __version__

if TYPE_CHECKING:
    from stylebridge.jobs.adapt import AdaptationResult, adapt
    from stylebridge.jobs.demo import demo
    from stylebridge.jobs.doctor import doctor
    from stylebridge.jobs.evaluate import evaluate
    from stylebridge.jobs.evaluate_images import evaluate_images
    from stylebridge.jobs.evaluate_pairs import evaluate_pairs
    from stylebridge.jobs.export import export
    from stylebridge.jobs.import_weights import import_weights
    from stylebridge.jobs.mix import mix_images
    from stylebridge.jobs.pack import pack
    from stylebridge.jobs.segment import segment
    from stylebridge.jobs.synthesize import train_synthesizer
    from stylebridge.jobs.synthesize_apply import synthesize
    from stylebridge.jobs.translate import train_translator
    from stylebridge.jobs.translator_folder import translate

# Huge pages for torch's large CPU tensors, read when torch makes its first: without them every new tensor of many
# megabytes costs a page fault for each 4 KiB (writing a gradient of 157 MB took 78 ms, and takes 34).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

#: The public functions and the modules of ``stylebridge.jobs`` that hold them.
_JOBS = {
    "AdaptationResult": "adapt",
    "adapt": "adapt",
    "demo": "demo",
    "doctor": "doctor",
    "evaluate": "evaluate",
    "evaluate_images": "evaluate_images",
    "evaluate_pairs": "evaluate_pairs",
    "export": "export",
    "import_weights": "import_weights",
    "mix_images": "mix",
    "pack": "pack",
    "segment": "segment",
    "synthesize": "synthesize_apply",
    "train_synthesizer": "synthesize",
    "train_translator": "translate",
    "translate": "translator_folder",
}

__all__ = [
    "AdaptationResult",
    "__version__",
    "adapt",
    "demo",
    "doctor",
    "evaluate",
    "evaluate_images",
    "evaluate_pairs",
    "export",
    "import_weights",
    "mix_images",
    "pack",
    "segment",
    "synthesize",
    "train_synthesizer",
    "train_translator",
    "translate",
]


def __getattr__(name: str) -> Any:
    # The jobs import torch; `import stylebridge` and `stylebridge --help` should not have to wait for it.
    if name in _JOBS:
        return getattr(import_module(f"stylebridge.jobs.{_JOBS[name]}"), name)
    raise AttributeError(f"module 'stylebridge' has no attribute {name!r}")
