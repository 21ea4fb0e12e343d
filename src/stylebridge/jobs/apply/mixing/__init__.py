"""Sheets and videos of mixes."""
