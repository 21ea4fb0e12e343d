"""``python -m stylebridge``: the command line."""

from stylebridge.cli import main

main()
