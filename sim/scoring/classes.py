"""How the values of label maps relate to a segmentation network's classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triovit.errors import UserError


@dataclass(frozen=True)
class LabelClasses:
    """The classes of a set of label maps.

    ``of_network[c]`` is the label's class that the network's class ``c`` counts as; ``void`` is the label value that is ignored.
    """

    name: str
    names: tuple[str, ...]
    of_network: tuple[int, ...]
    void: int

    @property
    def count(self) -> int:
        """Classes that are scored."""
        return len(self.names)

    def values(self) -> NDArray[np.bool_]:
        """Which of the values 0..255 a label map may hold: bool ``[256]``."""
        known = np.zeros(256, bool)
        known[: self.count] = True
        known[self.void] = True
        return known


#: Cityscapes' 19 classes in the order of their training numbers, and what each is in CamVid's 11 (SegNet's split).
_CITYSCAPES_TO_CAMVID = (
    ("road", "Road"),
    ("sidewalk", "Pavement"),
    ("building", "Building"),
    ("wall", "Building"),
    ("fence", "Fence"),
    ("pole", "Pole"),
    ("traffic light", "SignSymbol"),
    ("traffic sign", "SignSymbol"),
    ("vegetation", "Tree"),
    ("terrain", "Tree"),
    ("sky", "Sky"),
    ("person", "Pedestrian"),
    ("rider", "Bicyclist"),
    ("car", "Car"),
    ("truck", "Car"),
    ("bus", "Car"),
    ("train", "Car"),
    ("motorcycle", "Bicyclist"),
    ("bicycle", "Bicyclist"),
)
_CAMVID = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree"),
    *("SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
)

#: A network trained on Cityscapes, scored on CamVid: labels 0..10, 11 is void.
CAMVID = LabelClasses("camvid", _CAMVID, tuple(_CAMVID.index(name) for _, name in _CITYSCAPES_TO_CAMVID), void=len(_CAMVID))
#: The names that `label_classes` knows.
NAMES = ("camvid", "network")


def network_classes(count: int) -> LabelClasses:
    """Labels in a network's own numbering, 0 .. ``count - 1``; 255 is void.

    Raises
    ------
    UserError
        More classes than a label map's bytes can tell from void.
    """
    if not 1 <= count <= 255:
        raise UserError(f"{count} classes cannot be scored with label maps of bytes; at most 255 can")
    return LabelClasses("network", tuple(map(str, range(count))), tuple(range(count)), void=255)


def label_classes(name: str | None, count: int, seen: NDArray[np.bool_]) -> LabelClasses:
    """The classes of label maps for a network of ``count`` classes.

    Parameters
    ----------
    name
        ``camvid`` or ``network``; None takes ``camvid`` for a network of 19 classes where no label exceeds CamVid's void (11),
        and ``network`` otherwise.
    count
        The network's classes.
    seen
        Which values the label maps hold, bool ``[256]``.

    Raises
    ------
    UserError
        ``camvid`` for a network without Cityscapes' 19 classes, an unknown name, or too many classes.
    """
    cityscapes = len(CAMVID.of_network)
    if name is None:
        name = "camvid" if count == cityscapes and not seen[CAMVID.void + 1 :].any() else "network"
    if name not in NAMES:
        raise UserError(f"classes {name!r} are unknown; choose one of {', '.join(NAMES)}")
    if name == "network":
        return network_classes(count)
    if count != cityscapes:
        raise UserError(
            f"classes camvid need a network of Cityscapes' {cityscapes} classes, and this one has {count}; choose network"
        )
    return CAMVID
