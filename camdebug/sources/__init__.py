"""Readers of annotations as people have them. Each gives :class:`Annotations`, and decodes no picture.

``entry`` what they give · ``pictures`` open one as it was annotated · ``voc``, ``coco``, ``yolo`` the readers
"""

from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Source, Unusable
from camdebug.sources.voc import VocFolder

__all__ = ["AnnotatedObject", "Annotations", "Entry", "Source", "Unusable", "VocFolder"]
