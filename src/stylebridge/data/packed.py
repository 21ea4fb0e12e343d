"""Files inside archives of any kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import PurePosixPath

#: Largest unpacked size of an archive member, in bytes; no photo is larger.
MAX_MEMBER_BYTES = 1 << 28


#: Largest file of any image that can be read, in bytes.
MAX_FILE_BYTES = 1 << 30


class PackedFile(ABC):
    """A file inside an archive. Hashable, picklable, with the name attributes of a path.

    ``str()`` gives ``ARCHIVE!MEMBER``, as in messages.
    """

    #: The member's path inside the archive.
    path: PurePosixPath

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The name without suffix."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """The suffix, such as ``.png``."""
        return self.path.suffix

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The whole content. Raises DataError if it is damaged."""

    @abstractmethod
    def fingerprint(self) -> tuple[str | int, ...]:
        """Changes with the content; cheap. Raises OSError if the archive does not exist."""
