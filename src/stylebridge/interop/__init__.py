"""Import of released checkpoints, export to other formats."""
