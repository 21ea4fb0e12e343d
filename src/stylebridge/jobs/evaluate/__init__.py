"""Scores of models and image sets."""
