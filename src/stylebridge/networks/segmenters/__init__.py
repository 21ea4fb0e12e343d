"""Segmentation networks: their settings, families and folders."""
