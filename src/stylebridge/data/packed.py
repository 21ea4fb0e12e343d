"""Files inside archives, whatever the archive is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import PurePosixPath

#: A member of an archive that unpacks to more bytes than this is refused: no photo does.
MAX_MEMBER_BYTES = 1 << 28


#: No image of the size that is read takes more bytes, whatever its format.
MAX_FILE_BYTES = 1 << 30


class PackedFile(ABC):
    """A file inside an archive. Hashable, picklable, and named like a path.

    ``str()`` gives ``ARCHIVE!MEMBER``, which messages show.
    """

    #: The member's path inside the archive.
    path: PurePosixPath

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """The ending, as ``.png``."""
        return self.path.suffix

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The whole content. Raises DataError if the archive is damaged there."""

    @abstractmethod
    def fingerprint(self) -> tuple[str | int, ...]:
        """Changes when the content does; cheap. Raises OSError if the archive is gone."""
