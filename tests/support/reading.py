"""All reading functions applied to one file, with faults in their behaviour."""

from collections.abc import Callable
from pathlib import Path

from stylebridge.data import zip_files
from stylebridge.data.doctor.facts import pair_facts
from stylebridge.data.files import FileRef, open_tree
from stylebridge.data.images import (
    check_image,
    decode_image,
    read_header,
    read_image,
    read_label,
    read_label_colours,
    read_palette,
)
from stylebridge.errors import DataError

READERS: tuple[Callable, ...] = (
    read_header,
    read_image,
    check_image,
    read_label,
    read_label_colours,
    read_palette,
    lambda file: decode_image(file, (16, 16)),
)


def judge(place: Path) -> tuple[list[str], list[str]]:
    """Read an image, or every image of a zip file, in every way.

    Returns outcomes (``read``, ``refused``), and faults: errors that are no DataError, or do not name the file.
    """
    outcomes: list[str] = []
    faults: list[str] = []
    if place.suffix != ".zip":
        _judge_image(place, outcomes, faults)
        return outcomes, faults
    try:
        members = open_tree(place).images()
    except Exception as error:
        _judge_error(place, error, outcomes, faults)
        return outcomes, faults
    for member in members.values():
        _judge_image(member, outcomes, faults)
    # Handles are kept open for each thread; a new archive of the same name is another.
    zip_files._open_zips.__dict__.clear()
    return outcomes, faults


def _judge_image(file: FileRef, outcomes: list[str], faults: list[str]) -> None:
    for read in READERS:
        try:
            read(file)
        except Exception as error:
            _judge_error(file, error, outcomes, faults)
        else:
            outcomes.append("read")
    facts = pair_facts(file, file)  # the doctor's; nothing is raised
    if any("\n" in part.error for part in (facts.image, facts.label) if part is not None):
        faults.append("a finding of several lines")


def _judge_error(file: FileRef, error: Exception, outcomes: list[str], faults: list[str]) -> None:
    message = str(error)
    outcomes.append("refused")
    if not isinstance(error, DataError):
        faults.append(f"{type(error).__name__}: {message[:200]}")
    elif str(file) not in message or "\n" in message or not message.endswith("."):
        faults.append(f"unclear: {message[:300]}")
