"""Frozen values that cross from one layer to the next. They hold results and know how nothing was made."""

from camdebug.records.background import BackgroundContrast, BackgroundSwap
from camdebug.records.exclusion import Exclusion
from camdebug.records.heatmaps import Heatmaps
from camdebug.records.localisation import ClassScores, LocalisationScores, Validity
from camdebug.records.look import EpochRecord
from camdebug.records.loss import Loss
from camdebug.records.place import PlaceLock
from camdebug.records.provenance import ClassDraw, Origin, Provenance
from camdebug.records.split import GroupScores, RightAgainstWrong, Split, WrongReasons
from camdebug.records.steadiness import ObjectFollowing, Similarity, SteadinessReport
from camdebug.records.verdict import ClassVerdict, Extent, Level, RunVerdict, Severity

__all__ = [
    "BackgroundContrast",
    "BackgroundSwap",
    "ClassDraw",
    "ClassScores",
    "ClassVerdict",
    "EpochRecord",
    "Exclusion",
    "Extent",
    "GroupScores",
    "Heatmaps",
    "Level",
    "LocalisationScores",
    "Loss",
    "ObjectFollowing",
    "Origin",
    "PlaceLock",
    "Provenance",
    "RightAgainstWrong",
    "RunVerdict",
    "Severity",
    "Similarity",
    "Split",
    "SteadinessReport",
    "Validity",
    "WrongReasons",
]
