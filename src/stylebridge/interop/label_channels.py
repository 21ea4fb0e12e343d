"""What the label channels of a SPADE or SEAN generator mean: classes, don't care, instance edges.

A generator file tells only how many channels there are. The published programs put the classes first, then one channel
for pixels without a class (``contain_dontcare_label``), then one for instance edges (unless ``no_instance``).
"""

from __future__ import annotations

import re
from importlib import resources
from typing import NamedTuple

from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.errors import DataError

_FORM = re.compile(r"(\d+)(\+void)?(\+edges)?")


class LabelChannels(NamedTuple):
    """``classes`` of the label space; whether a channel for pixels without a class, and one for edges, follow."""

    classes: int
    void: bool = False
    edges: bool = False

    @property
    def count(self) -> int:
        """All channels."""
        return self.classes + self.void + self.edges

    def __str__(self) -> str:
        return f"{self.classes}{'+void' * self.void}{'+edges' * self.edges}"

    @property
    def in_words(self) -> str:
        """For a sentence."""
        parts = [f"{self.classes} classes", *["pixels without a class"] * self.void]
        parts += ["instance edges"] * self.edges
        return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]

    @classmethod
    def parse(cls, text: str) -> LabelChannels:
        """Read ``35+edges``, ``182+void+edges``, ``150+void`` or ``19``.

        Raises:
            DataError: it has another form.
        """
        match = _FORM.fullmatch(text.replace(" ", ""))
        if match is None or int(match[1]) < 1:
            raise DataError(
                f"--channels {text!r} is not of the form CLASSES, CLASSES+void, CLASSES+edges or CLASSES+void+edges, "
                f"such as 35+edges."
            )
        return cls(int(match[1]), match[2] is not None, match[3] is not None)


class Published(NamedTuple):
    """A network that its authors trained. ``space``: a built-in label space, or one of this package's own folder."""

    data: str
    channels: LabelChannels
    upsampling: str
    size: tuple[int, int]


#: Networks of SPADE's authors, by their number of label channels.
PUBLISHED = {
    36: Published("Cityscapes", LabelChannels(35, edges=True), "more", (512, 256)),
    151: Published("ADE20K", LabelChannels(150, void=True), "normal", (256, 256)),
    184: Published("COCO-Stuff", LabelChannels(182, void=True, edges=True), "normal", (256, 256)),
}


def published_space(data: str) -> LabelSpace:
    """The classes of a published network, and which ids of the data set's label files they have.

    Cityscapes: the ids 0 to 34 of ``*_labelIds.png``. ADE20K: 1 to 150, where 0 is none. COCO-Stuff: 0 to 181 of the
    stuff-things maps, where 182 and 255 are none; its classes have numbers for names.
    """
    if data == "ADE20K":
        return LabelSpace.load("ade20k-150")
    if data == "Cityscapes":
        return LabelSpace.load(
            str(resources.files("stylebridge") / "interop" / "label_spaces" / "cityscapes-35.yaml")
        )
    plain = LabelSpace.generic(182)
    return LabelSpace("coco-stuff-182", plain.classes, plain.colours, {**plain.raw_ids, 182: IGNORE})


def channels_of(count: int, given: str | None, space: LabelSpace | None, file: str) -> LabelChannels:
    """What ``count`` label channels mean.

    Args:
        given: what the user states (:meth:`LabelChannels.parse`).
        space: the label space that the user names.
        file: for messages.

    Raises:
        DataError: what is stated does not fit the file, or does not tell.
    """
    published = PUBLISHED.get(count)
    if given is not None:
        channels = LabelChannels.parse(given)
        if channels.count != count:
            raise DataError(
                f"{file} has {count} label channels, and --channels {given} are {channels.count}: give the channels "
                f"that it was trained with."
            )
    elif published is not None and (space is None or space.num_classes == published.channels.classes):
        channels = published.channels
    elif space is None:
        channels = LabelChannels(count)
    else:
        rest = count - space.num_classes
        if rest == 1:
            raise DataError(
                f"{file} has {count} label channels, one more than label space {space.name}: say what it is with "
                f"--channels {space.num_classes}+void (pixels without a class) or {space.num_classes}+edges (instance "
                f"edges)."
            )
        channels = LabelChannels(space.num_classes, rest == 2, rest == 2)
    if space is not None and (space.num_classes != channels.classes or channels.count != count):
        raise DataError(
            f"{file} has {count} label channels ({channels.in_words}), and label space {space.name} has "
            f"{space.num_classes} classes: give the label space that the network was trained on, or its --channels."
        )
    return channels
