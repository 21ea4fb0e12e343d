"""Finished runs, opened: one object for any run, and what its capabilities need."""
