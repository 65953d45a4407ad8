"""Transforms that carry a picture and its annotations together, so that boxes and masks sit where the model sees them.

``carrier`` what every kind of transform becomes · ``find`` which one serves · ``torchvision_v2``, ``albumentations``
pipelines that move boxes themselves, the first by its ``v2_parts``, some made ``v2_exact`` · ``torchvision_v1`` those
of known places · ``explicit`` any function, with ``steps`` said beside it, each made of ``moves`` · ``watch`` whether
boxes follow what cannot be read · ``outcome`` what comes out, checked · ``described`` in words
"""

from camdebug.geometry.carrier import Carried, Carrier
from camdebug.geometry.find import carrier_of
from camdebug.geometry.steps import (
    CenterCrop,
    HorizontalFlip,
    Letterbox,
    Normalize,
    Pad,
    Resize,
    VerticalFlip,
)

__all__ = [
    "Carried",
    "Carrier",
    "CenterCrop",
    "HorizontalFlip",
    "Letterbox",
    "Normalize",
    "Pad",
    "Resize",
    "VerticalFlip",
    "carrier_of",
]
