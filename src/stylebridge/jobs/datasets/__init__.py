"""Data sets: opened, checked, packed, drawn."""
