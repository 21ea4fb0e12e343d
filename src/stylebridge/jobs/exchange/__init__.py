"""Weights and models in and out: released checkpoints, other runtimes."""
