"""The two domains of a run that translates, by the names of their data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stylebridge.data.domain import Domain, DomainSpec, titles
from stylebridge.errors import DataError, did_you_mean

#: Names that every run's first and second domain have besides their own.
_ALIASES = (("a", "source"), ("b", "target"))


@dataclass(frozen=True)
class Domains:
    """The two domains that a run translates between.

    Attributes:
        keys: what the run itself calls them: ``("a", "b")`` or ``("source", "target")``.
        names: the titles of their data, or the keys where no data is known (imported weights).
        specs: the data, as :func:`stylebridge.data.domain.open_domain` opens it; None where it is not known.
    """

    keys: tuple[str, str]
    names: tuple[str, str]
    specs: tuple[str | None, str | None]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Domains:
        """Those of a run, as its ``run.yaml`` tells them."""
        keys = ("source", "target") if "source" in facts else ("a", "b")
        first, second = (facts.get(key) if isinstance(facts.get(key), str) else None for key in keys)
        names = keys
        if first is not None and second is not None:
            try:
                names = titles(_listed(first), _listed(second))
            except DataError:  # of a layout that this version does not know
                names = (first, second)
        return cls(keys, (names[0], names[1]), (first, second))

    def find(self, wanted: str | None) -> int:
        """The number of a domain, 0 or 1, by its name, a part of it that the other lacks, or an alias: ``a`` or
        ``source`` for the first, ``b`` or ``target`` for the second. None: the second.

        Raises:
            DataError: there is no such domain.
        """
        if wanted is None:
            return 1
        for number in (0, 1):
            if wanted in _ALIASES[number] or (
                wanted == self.names[number] and wanted not in _ALIASES[1 - number]
            ):
                return number
        parts = [name.split("/") for name in self.names]
        for number in (0, 1):
            if wanted in parts[number] and wanted not in parts[1 - number]:
                return number
        listed = " or ".join(
            f"{name} ({alias[0]})" if name != alias[0] else name
            for name, alias in zip(self.names, _ALIASES, strict=True)
        )
        raise DataError(
            f"There is no domain {wanted!r} in this run{did_you_mean(wanted, self.names)}", f"choose {listed}"
        )

    def key(self, wanted: str | None) -> str:
        """What the run itself calls a domain; see :meth:`find`."""
        return self.keys[self.find(wanted)]


def _listed(spec: str) -> Domain:
    """A domain by its specification alone: nothing is opened."""
    parsed = DomainSpec.parse(spec)
    return Domain("", parsed.path, (), None, None, parsed.layout or "folder", parsed.split)
