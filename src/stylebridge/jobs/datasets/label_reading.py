"""Reading the label files of a job's domains: label space, evidence, and class map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from stylebridge.data.class_map import ClassMap, builtin_class_map, check_class_map, map_classes
from stylebridge.data.domain import Domain
from stylebridge.data.label_inference import (
    CLASSES_FILE,
    Evidence,
    classes_beside,
    ensure_layout_agrees,
    find_evidence,
    plain_space,
    read_alike,
)
from stylebridge.data.label_space import IGNORE, LabelSpace, builtin_label_spaces
from stylebridge.data.shards import ShardSequence
from stylebridge.errors import DataError
from stylebridge.jobs.datasets.label_options import print_class_map
from stylebridge.terminal import say

Given = TypeVar("Given")

#: Evidence from a layout's definition, or from packing.
_LAYOUT = "the layout"


@dataclass(frozen=True)
class Reading:
    """How the label files of a domain are read, and why.

    Attributes:
        own: the label space of the files.
        how: its evidence, in words; "assumed" without evidence.
        class_map: from ``own`` to the model's classes; None: ``own`` has the model's classes.
    """

    domain: Domain
    own: LabelSpace
    how: str
    evidence: Evidence | None = None
    class_map: ClassMap | None = None


@dataclass
class LabelReader:
    """Identifies each domain separately, and maps it to the classes of one model.

    Args:
        console: for notices.
        model: the model's space, given (``adapt --label-space``) or of a finished model; None: the target of the first
            class map, else the source's space.
        stated: the user's label space of the files (``evaluate --label-space``); compared with their evidence.
        maps: the user's class maps.
        read_as: label spaces by role, used regardless of evidence (``--read-as``).
        single: the command reads one domain, so that ``--read-as`` has no role.
        unlabelled: domains without labels, only printed.
    """

    console: Console
    model: LabelSpace | None = None
    stated: LabelSpace | None = None
    maps: Sequence[ClassMap] = ()
    read_as: Mapping[str, LabelSpace] = field(default_factory=dict)
    single: bool = False
    unlabelled: Sequence[Domain] = ()

    def __post_init__(self) -> None:
        self._model_stated = self.model is not None and not self.single
        self._begins: dict[str, LabelSpace] = {}
        self._known: list[LabelSpace] = []
        self.used: list[ClassMap] = []
        self.problems: dict[str, str] = {}

    # --- the domains ---

    def settle(self, domains: Mapping[str, Domain], optional: Sequence[str] = ()) -> dict[str, Domain]:
        """The domains, by role and in this order, with spaces of the model's classes; the first domain defines these
        unless they are given. Prints the space and map of each.

        Args:
            optional: roles that are left out if they cannot be read; ``problems`` gives the reasons.

        Raises:
            DataError: an option contradicts the files, their label space is unknown, or no class map is known.
        """
        self.resolve_maps([d for d in domains.values() if d.labels is not None])
        readings = self._each(domains, self.identify, optional)
        settled = self._each(readings, lambda role, r: self.map(role, r, readings), optional)
        self.print_readings(settled)
        if not self.problems:
            self.ensure_maps_used(readings)
        return {role: self.apply(reading) for role, reading in settled.items()}

    def _each(
        self, given: Mapping[str, Given], step: Callable[[str, Given], Reading], optional: Sequence[str]
    ) -> dict[str, Reading]:
        done: dict[str, Reading] = {}
        for role, each in given.items():
            try:
                done[role] = step(role, each)
            except DataError as error:
                if role not in optional:
                    raise
                self.problems[role] = str(error)
        return done

    def resolve_maps(self, domains: Sequence[Domain]) -> None:
        """Find the label spaces of class maps: those in use by name, built-in ones, or files."""
        in_play = {s.name: s for s in (self.stated, self.model, *self.read_as.values()) if s is not None}
        for domain in domains:
            beside = classes_beside(domain.labels) if domain.space is None and domain.labels else None
            if beside is not None:
                in_play.setdefault(beside.name, beside)
        resolved = []
        for found in self.maps:
            begin, end = (in_play.get(name) or LabelSpace.load(name) for name in (found.source, found.target))
            renamed = replace(found, source=begin.name, target=end.name)
            resolved.append(check_class_map(renamed, begin, end))
            self._begins[begin.name] = begin
            if self.model is None:
                self.model = end
            elif end.classes != self.model.classes:
                raise DataError(
                    f"{found.origin} maps to {end.name}, but the model's label space is {self.model.name}: give a map "
                    f"to {self.model.name}{'' if self.single else f', or --label-space {end.name}'}."
                )
        self.maps = resolved
        spaces = [self.stated, self.model, *self._begins.values()]
        self._known = [
            s for i, s in enumerate(spaces) if s is not None and s not in spaces[:i] and not s.nameless
        ]

    def identify(self, role: str, domain: Domain) -> Reading:
        """How the label files of a domain are read, before any class map."""
        if role in self.read_as:
            reading = Reading(domain, self.read_as[role], "from --read-as")
        else:
            evidence = self._evidence(role, domain)
            if evidence.space is not None:
                reading = self._shown(role, domain, evidence, evidence.space)
            else:
                reading = self._assumed(role, domain, evidence)
        self.model = self.model or reading.own
        return reading

    def override(self, role: str) -> str:
        """The option that sets a domain's label space."""
        return "--read-as SPACE" if self.single else f"--read-as {role}=SPACE"

    def _evidence(self, role: str, domain: Domain) -> Evidence:
        if domain.space is not None:
            if domain.labels is not None and not isinstance(domain.labels, ShardSequence):
                ensure_layout_agrees(domain.labels, domain.space, domain.layout, self.override(role))
            space = None if domain.space.nameless else domain.space
            return Evidence(space, _LAYOUT if space else "the ids", str(domain.root))
        assert domain.labels is not None
        known = [*self._known, *([self.model] if self.model is not None else [])]
        return find_evidence(domain.labels, known, role.replace("data", ""), self.override(role))

    def _shown(self, role: str, domain: Domain, evidence: Evidence, own: LabelSpace) -> Reading:
        how = f"{evidence.by} of {evidence.file}" if evidence.by != CLASSES_FILE else evidence.file
        if evidence.by == _LAYOUT:
            how = f"{evidence.by} ({domain.layout})"
        said = self.stated or (self.model if self._model_stated and evidence.by != _LAYOUT else None)
        if said is None or said.classes == own.classes:
            return Reading(domain, own, how, evidence)
        if read_alike(said, own, evidence.used):
            return Reading(domain, said, f"--label-space, which agrees with {how}", evidence)
        if self.stated is not None:
            raise DataError(self._contradiction(role, own, how, said))
        return Reading(domain, own, how, evidence)

    def _contradiction(self, role: str, own: LabelSpace, how: str, said: LabelSpace) -> str:
        return (
            f"The {role} label maps are {own.name} by {how}, but --label-space is {said.name}: omit --label-space, "
            f"or read them as {said.name} anyway with "
            f"{self.override(role).replace('SPACE', said.name)}."
        )

    def _assumed(self, role: str, domain: Domain, evidence: Evidence) -> Reading:
        """The space of files with plain ids: the only one that the user's options leave."""
        choices = self._choices(role)
        if not choices:
            assert domain.labels is not None
            own = domain.space or plain_space(domain.labels, evidence.palette)
            how = "no names" if self.model is None else "assumed"
            return Reading(domain, own, how, evidence)
        self._ensure_not_foreign(role, domain, evidence, choices[0])
        fitting = [space for space in choices if evidence.used <= space.raw_ids.keys()] or choices[:1]
        if len(fitting) > 1:
            raise DataError(
                f"Nothing in the {role} label maps of {domain.root} shows the classes of their ids, and they fit "
                f"{' and '.join(space.name for space in fitting)}: choose one with {self.override(role)}."
            )
        _ensure_ids_fit(fitting[0], domain, evidence)
        if evidence.palette is not None:
            # Other sets of the same tool have this palette, and are recognised by it from now on.
            shown = evidence.palette
            colours = tuple(
                next(
                    (shown[raw] for raw, t in fitting[0].raw_ids.items() if t == train and raw in shown),
                    colour,
                )
                for train, colour in enumerate(fitting[0].colours)
            )
            self._known.append(replace(fitting[0], colours=colours))
        return Reading(domain, fitting[0], "assumed", evidence)

    def _choices(self, role: str) -> list[LabelSpace]:
        if self.stated is not None:
            return [self.stated]
        model = [self.model] if self.model is not None else []
        found: list[LabelSpace] = []
        for space in (*self._begins.values(), *model):
            if all(space.raw_ids != other.raw_ids or space.classes != other.classes for other in found):
                found.append(space)
        return found

    def _ensure_not_foreign(self, role: str, domain: Domain, evidence: Evidence, space: LabelSpace) -> None:
        """Check that a palette does not contradict the model's colours."""
        if evidence.palette is None or space.invented_colours:
            return
        said = self.stated is not None or (role == "source" and self._model_stated)
        # A user's space may have any colours; those of a built-in one are published.
        if said and space.name not in builtin_label_spaces():
            return
        whose = f"{space.name}, which --label-space names" if said else space.name
        raise DataError(
            f"The {role} label maps of {domain.root} have a palette of no known label space, without the colours of "
            f"{whose} (see {evidence.file}): name their label space with {self.override(role)}."
        )

    # --- the model's classes ---

    def map(self, role: str, reading: Reading, readings: Mapping[str, Reading]) -> Reading:
        """The reading, with its class map to the model's classes."""
        model, own = self.model, reading.own
        assert model is not None
        if own.classes == model.classes:
            return reading
        if own.nameless:
            raise DataError(
                f"The label files of {reading.domain.root} do not show the classes of their ids; the model has those "
                f"of {model.name}: put a {CLASSES_FILE} beside images/ and labels/, or name their label space with "
                f"{self.override(role)}."
            )
        given = [m for m in self.maps if self._begins[m.source].classes == own.classes]
        if not given and role == "source":
            self._ensure_backed(reading, readings)
        # A map uses names: it fits every space with its classes, whatever their ids.
        try:
            found = map_classes(own, model, [replace(m, source=own.name, target=model.name) for m in given])
        except DataError as error:
            where = f"The {role} label maps of {reading.domain.root} are {own.name} ({reading.how})"
            raise DataError(f"{where}, but the model has other classes. {error}") from error
        if found is not None and found not in self.used:
            self.used.append(found)
        return replace(reading, class_map=found)

    def _ensure_backed(self, reading: Reading, readings: Mapping[str, Reading]) -> None:
        """Check that some domain has the classes of --label-space: otherwise it is probably a mistake, so a class map
        is required."""
        evidence, model = reading.evidence, self.model
        assert model is not None
        if not self._model_stated or evidence is None or evidence.by == _LAYOUT or evidence.space is None:
            return
        if any(r.own.classes == model.classes and r.how != "assumed" for r in readings.values()):
            return
        built_in = builtin_class_map(reading.own, model)
        mend = (
            f"--class-map {built_in.origin.rpartition(' ')[2]}"
            if built_in is not None
            else f"--class-map FILE (`stylebridge data class-map {reading.own.name} {model.name}` writes a draft)"
        )
        raise DataError(
            f"{self._contradiction('source', reading.own, reading.how, model)[:-1]}; to train the classes of "
            f"{model.name} on them, give {mend}."
        )

    def ensure_maps_used(self, readings: Mapping[str, Reading]) -> None:
        """Raises DataError for a class map that no domain needs; names the domains' label spaces."""
        for found in self.maps:
            begin = self._begins[found.source]
            if not any(u.origin == found.origin for u in self.used):
                spaces = ", ".join(f"{role}: {reading.own.name}" for role, reading in readings.items())
                raise DataError(
                    f"{found.origin} is from {begin.name}, but no label maps here need it ({spaces}): omit it, "
                    f"or give a map from the space of the label maps."
                )

    def apply(self, reading: Reading) -> Domain:
        """The domain with a space of the model's classes."""
        assert self.model is not None
        if reading.class_map is None:
            return replace(reading.domain, space=reading.own)
        return replace(reading.domain, space=reading.class_map.apply(reading.own, self.model))

    # --- notices ---

    def print_readings(self, readings: Mapping[str, Reading]) -> None:
        """Print the space and map of every domain, and full class maps."""
        assert self.model is not None
        shown: list[ClassMap] = []
        for reading in readings.values():
            if reading.class_map is not None and reading.class_map not in shown:
                shown.append(reading.class_map)
                print_class_map(reading.class_map, self.model, self.console)
        table = Table(title=f"Label space: {_named(self.model)}", title_justify="left", box=None)
        for column in ("label maps", "space", "known by", "class map"):
            table.add_column(column, overflow="fold")
        for role, r in readings.items():
            becomes = r.class_map.origin if r.class_map is not None else "none needed"
            how = r.how.replace(f"{r.domain.root}/", "")
            table.add_row(f"{role}: {r.domain.title}", _named(r.own), how, becomes)
        for domain in self.unlabelled:
            table.add_row(f"{domain.name}: {domain.title}", "–", "not read", "–")
        self.console.print(table)
        for role, r in readings.items():
            if r.how == "no names":
                say(
                    self.console,
                    f"{role}: the plain ids 0 to {r.own.num_classes - 1} as {r.own.num_classes} classes without names "
                    f"(255 ignored). Name them with --label-space NAME_OR_YAML.",
                )
            elif r.how == "assumed":
                say(
                    self.console,
                    f"Nothing in the {role} label maps shows the classes of their ids: {_named(r.own)} is assumed. "
                    f"Choose another with {self.override(role)}.",
                )


def _named(space: LabelSpace) -> str:
    return f"{space.name} ({space.num_classes} classes)"


def _ensure_ids_fit(space: LabelSpace, domain: Domain, evidence: Evidence) -> None:
    """Detect ids outside the space with a common cause. Others are reported file by file in the full check."""
    unknown = evidence.used - space.raw_ids.keys()
    if not unknown:
        return
    classes = sorted(raw for raw, train in space.raw_ids.items() if train != IGNORE)
    used = sorted(evidence.used - {0, IGNORE})
    ids = ", ".join(map(str, sorted(unknown)[:8]))
    where = (
        f"The {domain.name} label maps of {domain.root} have the ids {ids}, which {space.name} does not have"
    )
    for scale in (256, 257):
        if all(i % scale == 0 and i // scale in space.raw_ids for i in unknown):
            raise DataError(
                f"{where}: they look like ids times {scale} (16 bits per pixel); divide them by {scale}."
            )
    shifted = all(i - 1 in space.raw_ids for i in used)
    if classes == list(range(len(classes))) and shifted and 0 not in evidence.used:
        raise DataError(
            f"{where}, and none has 0: the ids seem larger by one; subtract 1, or name the label space of the files "
            f"with --label-space NAME_OR_YAML."
        )
