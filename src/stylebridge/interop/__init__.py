"""Released checkpoints in, other formats out."""
