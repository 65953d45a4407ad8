"""Readers of annotations as people have them. Each gives :class:`Annotations`, and decodes no picture.

``entry`` what they give · ``pictures`` opens one as it was annotated · ``voc``, ``coco`` with ``coco_masks``, ``yolo``
with ``yolo_yaml`` the readers · ``paths`` what they do with files
"""

from camdebug.sources.coco import CocoJson
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Source, Unusable
from camdebug.sources.voc import VocFolder
from camdebug.sources.yolo import YoloFolder

__all__ = ["AnnotatedObject", "Annotations", "CocoJson", "Entry", "Source", "Unusable", "VocFolder", "YoloFolder"]
