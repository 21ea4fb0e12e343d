"""The use of trained models on files."""
