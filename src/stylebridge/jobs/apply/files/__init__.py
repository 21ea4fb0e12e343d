"""The images, videos, folders and instance maps that commands are given."""
