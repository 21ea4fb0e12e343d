"""Errors shown to users. Each message is one sentence that names the file, key or value, and the remedy."""

import difflib
from collections.abc import Iterable

#: Longest message, in characters: messages quote user input, which may be of any length.
MAX_MESSAGE = 2000


def shorten(text: str, most: int) -> str:
    """A text of at most ``most`` characters that every terminal can print: a longer text loses its middle, line breaks
    become spaces, and control characters (possible in file names) and bytes that are not UTF-8 become escapes."""
    if len(text) > most:
        keep = max(1, (most - 3) // 2)
        text = f"{text[:keep]} … {text[-keep:]}"
    text = " ".join(text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: object) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split())


def did_you_mean(given: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`` (did you mean NAME?)`` for an unknown name, or an empty string if no known name is similar.

    Args:
        cutoff: the least similarity of a suggestion, between 0 and 1 (:func:`difflib.get_close_matches`).
    """
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=cutoff)
    return f" (did you mean {close[0]}?)" if close else ""


class StylebridgeError(Exception):
    """Base of all expected errors; the command line prints the message without a traceback.

    Args:
        problem: what is wrong; with ``mend`` given, without a full stop. Without it, the whole message.
        mend: the remedy, without a full stop.
        option: a remedy by a command-line option, without a full stop.

    Attributes:
        problem, mend, option: as given; ``mend`` is None if the message was given as a whole. A caller without that
            option (a page, another command) builds its own error from these parts.
    """

    exit_code = 1

    def __init__(self, problem: str = "", mend: str | None = None, option: str | None = None) -> None:
        advice = mend if option is None else f"{mend}, or {option}"
        super().__init__(problem if mend is None else f"{problem}: {advice}.")
        self.problem, self.mend, self.option = problem, mend, option

    def __str__(self) -> str:
        """The message, shortened to :data:`MAX_MESSAGE` characters."""
        return shorten(super().__str__(), MAX_MESSAGE)


class UserError(StylebridgeError):
    """The request cannot be carried out: a path, an option or a value is wrong (exit code 2)."""

    exit_code = 2


class DataError(UserError):
    """An image, a label map or a data folder is invalid."""


class RecipeError(UserError):
    """A recipe has an unknown key or a value out of range."""


class RunError(UserError):
    """A run folder is missing, already exists, or belongs to another recipe."""


class WeightsError(UserError):
    """Weights cannot be found or do not fit the network."""


class WriteError(RunError):
    """A file or folder cannot be written: disk full, read-only, no permission or name too long."""


class WorkerError(UserError):
    """A data-loading process was killed."""


class TrainingStopped(StylebridgeError):
    """Training stopped because a loss or gradient was not finite. The last good checkpoint is intact."""


class CheckpointError(StylebridgeError):
    """A checkpoint could not be written. The previous checkpoint is intact."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended the work. Training writes a checkpoint first.

    Not a :class:`StylebridgeError`, so that no error handler swallows it.

    Attributes:
        number: the signal number; the exit code is 128 + number (130 or 143).
        where: the step and stage of the checkpoint, or an empty string.
        resume: the command that continues the run, or an empty string.
    """

    def __init__(self, number: int, where: str = "", resume: str = "") -> None:
        super().__init__(number, where, resume)
        self.number, self.where, self.resume = int(number), where, resume

    @property
    def exit_code(self) -> int:
        """The exit code that shells expect of a program ended by a signal."""
        return 128 + self.number

    def __str__(self) -> str:
        where = f" at {self.where}; a checkpoint was written" if self.where else ""
        return f"Interrupted{where}.{f' Continue with: {self.resume}' if self.resume else ''}"
