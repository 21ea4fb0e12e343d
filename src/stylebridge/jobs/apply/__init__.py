"""Apply trained models to files."""
