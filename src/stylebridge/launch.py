"""This process's rank, as set by the launcher (torchrun, ``accelerate launch``); no heavy imports."""

import os


def is_main() -> bool:
    """Whether this is the only process, or the first of a group launched together."""
    return int(os.environ.get("RANK", "0")) == 0
