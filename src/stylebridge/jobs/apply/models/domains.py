"""The two domains of a run that translates, by the names of their data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stylebridge.data.domain import Domain, DomainSpec, titles
from stylebridge.errors import DataError, did_you_mean

#: Aliases of every run's first and second domain.
_ALIASES = (("a", "source"), ("b", "target"))


@dataclass(frozen=True)
class Domains:
    """The two domains that a run translates between.

    Attributes:
        keys: their names in the run: ``("a", "b")`` or ``("source", "target")``.
        names: the titles of their data, or the keys if the data is unknown (imported weights).
        specs: the data, for :func:`stylebridge.data.domain.open_domain`; None if unknown.
    """

    keys: tuple[str, str]
    names: tuple[str, str]
    specs: tuple[str | None, str | None]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Domains:
        """The domains of a run, from its ``run.yaml``."""
        keys = ("source", "target") if "source" in facts else ("a", "b")
        first, second = (facts.get(key) if isinstance(facts.get(key), str) else None for key in keys)
        names = keys
        if first is not None and second is not None:
            try:
                names = titles(_listed(first), _listed(second))
            except DataError:  # of a layout unknown to this version
                names = (first, second)
            if names[0] == names[1]:  # one set twice
                names = keys
        return cls(keys, (names[0], names[1]), (first, second))

    def find(self, wanted: str | None) -> int:
        """The number of a domain, 0 or 1, by its name, a distinctive part of it, or an alias: ``a`` or ``source`` for
        the first, ``b`` or ``target`` for the second. None: the second.

        Raises:
            DataError: the domain is unknown.
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
        """The run's name of a domain; see :meth:`find`."""
        return self.keys[self.find(wanted)]


def _listed(spec: str) -> Domain:
    """A domain from its specification only, without opening it."""
    parsed = DomainSpec.parse(spec)
    return Domain("", parsed.path, (), None, None, parsed.layout or "folder", parsed.split)
