"""stylebridge: carry a segmentation model over to a domain without labels."""

from typing import TYPE_CHECKING, Any

from stylebridge.version import __version__

if TYPE_CHECKING:
    from stylebridge.jobs import AdaptationResult, adapt, demo, evaluate, segment

__all__ = ["AdaptationResult", "__version__", "adapt", "demo", "evaluate", "segment"]


def __getattr__(name: str) -> Any:
    # The jobs import torch; `import stylebridge` and `stylebridge --help` should not have to wait for it.
    if name in __all__:
        from stylebridge import jobs

        return getattr(jobs, name)
    raise AttributeError(f"module 'stylebridge' has no attribute {name!r}")
