"""Import of released checkpoints, export to other runtimes."""
