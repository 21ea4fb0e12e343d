"""The folder of one run: its files, its lock, how it begins and goes on."""
