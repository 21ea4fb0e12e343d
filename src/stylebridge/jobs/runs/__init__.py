"""The folder of a run: its files, its lock, starting and resuming."""
