"""The errors a user can meet. Each message is one sentence that names the file, key or value, and the mend."""

import difflib
from collections.abc import Iterable

#: Characters of a message: values that users gave are repeated in it, however long they are.
MAX_MESSAGE = 2000


def shorten(text: str, most: int) -> str:
    """A text of up to ``most`` characters that every terminal can print: the middle of a longer one is left out, line
    breaks become spaces, and control characters (a file's name may hold some) and bytes that are not UTF-8 are shown
    as escapes."""
    if len(text) > most:
        keep = max(1, (most - 3) // 2)
        text = f"{text[:keep]} … {text[-keep:]}"
    text = " ".join(text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: object) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split())


def did_you_mean(given: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`` (did you mean NAME?)`` for a name that is not known, or nothing where no known one is near.

    Args:
        cutoff: the least similarity of a near name, between 0 and 1 (:func:`difflib.get_close_matches`).
    """
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=cutoff)
    return f" (did you mean {close[0]}?)" if close else ""


class StylebridgeError(Exception):
    """Base of every error raised on purpose; the command line prints its message without a traceback.

    Args:
        problem: what is wrong; with ``mend`` given, without a full stop. Without it, the whole message.
        mend: what the user can do, without a full stop.
        option: what an option of a command can do instead, without a full stop.

    Attributes:
        problem, mend, option: as given; ``mend`` is None if the message was given in one piece. A caller whose user has
            other means (no such option, or a page in place of a command) raises its own error with these parts.
    """

    exit_code = 1

    def __init__(self, problem: str = "", mend: str | None = None, option: str | None = None) -> None:
        advice = mend if option is None else f"{mend}, or {option}"
        super().__init__(problem if mend is None else f"{problem}: {advice}.")
        self.problem, self.mend, self.option = problem, mend, option

    def __str__(self) -> str:
        """The message, cut to :data:`MAX_MESSAGE` characters."""
        return shorten(super().__str__(), MAX_MESSAGE)


class UserError(StylebridgeError):
    """What was asked for cannot be done as asked: a path, an option or a value is wrong (exit code 2)."""

    exit_code = 2


class DataError(UserError):
    """An image, a label map or a folder of them is not what it should be."""


class RecipeError(UserError):
    """A recipe has an unknown key or a value out of range."""


class RunError(UserError):
    """A run folder is missing, is in the way, or belongs to another recipe."""


class WeightsError(UserError):
    """Weights cannot be found or do not fit the network."""


class WriteError(RunError):
    """A file or folder cannot be written: the disk is full, or the place is read-only, forbidden or too long."""


class WorkerError(UserError):
    """A process that loads images was ended from outside."""


class TrainingStopped(StylebridgeError):
    """Training had to stop: a loss or gradient was not finite. The last good checkpoint is whole."""


class CheckpointError(StylebridgeError):
    """A checkpoint could not be written. The previous checkpoint is whole."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended the work. A training wrote a checkpoint before.

    Not a :class:`StylebridgeError`, so that nothing that handles errors swallows it.

    Attributes:
        number: the signal; the exit code is 128 more (130 or 143).
        where: the step and stage that a checkpoint was written at, or nothing.
        resume: the command that continues the run, or nothing.
    """

    def __init__(self, number: int, where: str = "", resume: str = "") -> None:
        super().__init__(number, where, resume)
        self.number, self.where, self.resume = int(number), where, resume

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return 128 + self.number

    def __str__(self) -> str:
        where = f" at {self.where}; a checkpoint is written" if self.where else ""
        return f"Interrupted{where}.{f' Continue with: {self.resume}' if self.resume else ''}"
