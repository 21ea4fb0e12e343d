"""The known label space of most label files of a set, and the files that do not match it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stylebridge.data.doctor.facts import LabelFacts
from stylebridge.data.doctor.findings import listed
from stylebridge.data.files import LabelRef
from stylebridge.data.label_evidence import MapKind, candidates, kind_of_ids, main_space
from stylebridge.data.label_space import LabelSpace


@dataclass(frozen=True)
class SpaceOfMost:
    """The label space of most files, among files with evidence.

    Attributes:
        evidence: ``palette`` or ``colours``.
        odd: the mismatch of each file that does not match, by its key.
    """

    space: LabelSpace
    evidence: str
    odd: dict[str, str]


def space_of_most(labels: Mapping[str, tuple[LabelRef, LabelFacts]]) -> SpaceOfMost | None:
    """The same space as in training (:func:`~stylebridge.data.label_evidence.main_space`), from the facts of each file;
    None without evidence."""
    groups: dict[object, list[str]] = {}
    for key, (_, facts) in labels.items():
        same = facts.grey, facts.all_colours, frozenset(facts.ids), frozenset(facts.colours)
        groups.setdefault(same, []).append(key)
    kinds = [_kind(labels[keys[0]][1], tuple(labels[key][0] for key in keys)) for keys in groups.values()]
    space = main_space(kinds, candidates())
    if space is None:
        return None
    odd = {key: why for key, (_, facts) in labels.items() if (why := _misfit(facts, space))}
    shown = next(kind for kind in kinds if kind.matched(space))
    return SpaceOfMost(space, "palette" if shown.colours is None else "colours", odd)


def contradicts(facts: LabelFacts, space: LabelSpace) -> bool:
    """Whether the palette or colours of a file belong to another space."""
    kind = _kind(facts, ())
    return kind.tells and not kind.matched(space) and kind.has_classes(space)


def _kind(facts: LabelFacts, files: tuple[LabelRef, ...]) -> MapKind:
    if not facts.grey:
        return MapKind(files, colours=frozenset(facts.colours))
    return kind_of_ids(files, frozenset(facts.ids), facts.all_colours or None)


def _misfit(facts: LabelFacts, space: LabelSpace) -> str:
    """Why a file does not match a space, in a few words; empty without contradiction."""
    if not facts.grey and not space.raw_colours:
        return "holds colours"
    by_colour = bool(space.raw_colours and facts.colours)
    found, known = (facts.colours, space.raw_colours) if by_colour else (facts.ids, space.raw_ids)
    strange = [value for value in found if value not in known]
    if strange or facts.rest:
        noun = "colour" if by_colour else "id"
        return f"holds the {noun}{'' if len(strange) == 1 else 's'} {listed(strange, 4)}"
    return "its palette has other classes" if contradicts(facts, space) else ""
