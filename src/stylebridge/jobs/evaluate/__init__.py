"""Scores of models and of sets of images."""
