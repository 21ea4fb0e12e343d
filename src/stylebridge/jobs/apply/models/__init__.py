"""Open finished runs: one object for any run, and the parts for its capabilities."""
