"""What a user asks for, one file each. These are the package's public functions."""

from stylebridge.jobs.adapt import AdaptationResult, adapt
from stylebridge.jobs.demo import demo
from stylebridge.jobs.evaluate import evaluate
from stylebridge.jobs.segment import segment

__all__ = ["AdaptationResult", "adapt", "demo", "evaluate", "segment"]
