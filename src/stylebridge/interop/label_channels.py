"""The meaning of the label channels of a SPADE or SEAN generator: classes, don't care, instance edges.

A generator file only contains their number. In the published programs the classes come first, then a channel for pixels
without a class (``contain_dontcare_label``), then a channel for instance edges (unless ``no_instance``).
"""

from __future__ import annotations

import re
from importlib import resources
from typing import NamedTuple

from stylebridge.data.label_space import IGNORE, LabelSpace
from stylebridge.errors import DataError

_FORM = re.compile(r"(\d+)(\+void)?(\+edges)?")


class LabelChannels(NamedTuple):
    """Number of classes; whether channels for pixels without a class, and for edges, follow."""

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
        """A description for messages."""
        parts = [f"{self.classes} classes", *["pixels without a class"] * self.void]
        parts += ["instance edges"] * self.edges
        return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]

    @classmethod
    def parse(cls, text: str) -> LabelChannels:
        """Parse ``35+edges``, ``182+void+edges``, ``150+void`` or ``19``.

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
    """A published network. ``space``: a built-in label space, or one in ``interop/label_spaces``."""

    data: str
    channels: LabelChannels
    upsampling: str
    size: tuple[int, int]


#: SPADE's published networks, by number of label channels.
PUBLISHED = {
    36: Published("Cityscapes", LabelChannels(35, edges=True), "more", (512, 256)),
    151: Published("ADE20K", LabelChannels(150, void=True), "normal", (256, 256)),
    184: Published("COCO-Stuff", LabelChannels(182, void=True, edges=True), "normal", (256, 256)),
}


def published_space(data: str) -> LabelSpace:
    """The classes of a published network, with their ids in the data set's label files.

    Cityscapes: ids 0 to 34 of ``*_labelIds.png``. ADE20K: 1 to 150; 0 means none. COCO-Stuff: 0 to 181 of the
    stuff-things maps; 182 and 255 mean none; its class names are numbers.
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
    """The meaning of ``count`` label channels.

    Args:
        given: the user's statement (:meth:`LabelChannels.parse`).
        space: the user's label space.
        file: the file's name for messages.

    Raises:
        DataError: the given values do not match the file, or are ambiguous.
    """
    published = PUBLISHED.get(count)
    if given is not None:
        channels = LabelChannels.parse(given)
        if channels.count != count:
            raise DataError(
                f"{file} has {count} label channels, but --channels {given} means {channels.count}: give the channels "
                f"of its training."
            )
    elif published is not None and (space is None or space.num_classes == published.channels.classes):
        channels = published.channels
    elif space is None:
        channels = LabelChannels(count)
    else:
        rest = count - space.num_classes
        if rest == 1:
            raise DataError(
                f"{file} has {count} label channels, one more than label space {space.name}: state its meaning with "
                f"--channels {space.num_classes}+void (pixels without a class) or {space.num_classes}+edges (instance "
                f"edges)."
            )
        channels = LabelChannels(space.num_classes, rest == 2, rest == 2)
    if space is not None and (space.num_classes != channels.classes or channels.count != count):
        raise DataError(
            f"{file} has {count} label channels ({channels.in_words}), but label space {space.name} has "
            f"{space.num_classes} classes: give the label space of its training, or its --channels."
        )
    return channels
