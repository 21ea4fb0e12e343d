"""What the launcher (torchrun, ``accelerate launch``) says of this process; nothing heavy is imported."""

import os


def is_main() -> bool:
    """Whether this is the only process, or the first of those that were launched together."""
    return int(os.environ.get("RANK", "0")) == 0
