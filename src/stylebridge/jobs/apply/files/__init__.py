"""Input files of commands: images, videos, folders and instance maps."""
