"""Set up before any test imports torch."""

import os

#: With pytest-xdist every worker has one core: torch's threads would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
