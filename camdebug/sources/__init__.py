"""Readers of annotations as people have them. Each gives :class:`Annotations`, and decodes no picture.

``entry`` what they give · ``pictures`` open one as it was annotated · ``voc``, ``coco``, ``yolo`` the readers
``csv_table``, ``mask_folder``, ``picture_folder``, ``hugging_face`` more of them
``find`` the one for a folder or file
"""

from camdebug.sources.coco import CocoJson
from camdebug.sources.csv_table import CsvTable
from camdebug.sources.entry import AnnotatedObject, Annotations, Entry, Source, Unusable
from camdebug.sources.find import FORMATS, find_source
from camdebug.sources.hugging_face import HuggingFaceRows
from camdebug.sources.mask_folder import MaskFolder
from camdebug.sources.picture_folder import PictureFolder
from camdebug.sources.voc import VocFolder
from camdebug.sources.yolo import YoloFolder

__all__ = [
    "FORMATS",
    "AnnotatedObject",
    "Annotations",
    "CocoJson",
    "CsvTable",
    "Entry",
    "HuggingFaceRows",
    "MaskFolder",
    "PictureFolder",
    "Source",
    "Unusable",
    "VocFolder",
    "YoloFolder",
    "find_source",
]
