"""The parts of an adaptation: its data, pictures and report."""
