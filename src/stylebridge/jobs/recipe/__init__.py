"""Recipes: their models, and how they are read."""
