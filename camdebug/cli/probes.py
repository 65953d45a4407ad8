"""``camdebug probes``: build, see and describe probe sets without Python."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from camdebug.cli.parsing import Commands, at_least, names, numbers, option, pair, pixels
from camdebug.cli.words import WrongInputError, in_options, line_of, say

STATUS = (
    "The exit status is 0; 1 when the set is there but needs attention: a class cannot be judged, boxes seem to be "
    "wrong, a class has folders, sizes or kinds of file of its own, probes show nearly the same picture or are trained "
    "on; 2 when an input is wrong, which is said in one line."
)


def add_probes(commands: Commands) -> None:
    """Add the command to the parser's."""
    probes = commands.add_parser(
        "probes", help="build a probe set from annotated pictures, see it, and ask what it shows"
    )
    probes.set_defaults(run=_help_of(probes))
    parts = probes.add_subparsers(dest="part", metavar="COMMAND")
    _add_build(parts)
    _add_preview(parts)
    _add_summary(parts)


def _help_of(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    def show(_: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    return show


def _add_build(parts: Commands) -> None:
    build = parts.add_parser(
        "build",
        help="draw probes from annotated pictures, carry them through the model's transform, and save them",
        description=f"Writes the set, preview.png and summary.txt, and prints the summary. {STATUS}",
    )
    build.add_argument("source", metavar="SOURCE", help="folder or file of the annotations")
    build.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the set")
    build.add_argument("--overwrite", action="store_true", help="an older set there gives way")
    build.add_argument("--format", metavar="NAME", help="voc, coco, yolo, csv, masks or folder; else it is found")
    build.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures, where they lie elsewhere")
    build.add_argument("--split", metavar="NAME", help="such as val, of sources that have several")
    build.add_argument(
        "--option",
        action="append",
        default=[],
        type=option,
        metavar="KEY=VALUE",
        help="of the format, such as label=kind, box=left,top,right,bottom, values=1:circle,2:square, or a value in "
        'JSON (values=\'{"1": "circle"}\'); may be repeated',
    )
    _add_crops(build)
    _add_classes(build)
    _add_transform(build)
    _add_selection(build)
    _add_train(build)
    build.set_defaults(run=_run("build"))


def _add_crops(build: argparse.ArgumentParser) -> None:
    build.add_argument(
        "--object-crops", action="store_true", help="cut every object out, a picture each, for models that see one"
    )
    build.add_argument("--context", type=float, metavar="X", help="side of these crops, in longer sides of the box (2)")
    build.add_argument("--side", type=at_least(1), metavar="N", help="the same in pixels, in place of --context")
    build.add_argument("--most", type=at_least(1), metavar="N", help="objects of a class from one picture; else all")


def _add_classes(build: argparse.ArgumentParser) -> None:
    classes = build.add_mutually_exclusive_group()
    classes.add_argument("--classes", type=names, metavar="A,B,C", help="the model's, in the order of its outputs")
    classes.add_argument("--classes-file", type=Path, metavar="FILE", help="the same, one in a line")
    build.add_argument(
        "--map", action="append", default=[], type=pair, metavar="ANNOTATED=CLASS", help="names that differ; repeatable"
    )
    build.add_argument("--ignore-others", action="store_true", help="objects of unknown classes are ignored regions")


def _add_transform(build: argparse.ArgumentParser) -> None:
    build.add_argument(
        "--transform",
        metavar="package.module:name",
        help="the model's, of torchvision.transforms.v2 or albumentations, or a function without arguments that "
        "returns it; looked for in the current directory too",
    )
    build.add_argument("--resize", type=pixels, metavar="N", help="the shorter side, or HEIGHTxWIDTH")
    build.add_argument("--crop", type=pixels, metavar="N", help="the centre, after --resize")
    build.add_argument(
        "--letterbox", type=pixels, metavar="N", help="the whole picture with bars, in place of these two"
    )
    build.add_argument("--mean", type=numbers, metavar="R,G,B", help="of the normalisation, for pictures in 0 to 1")
    build.add_argument("--std", type=numbers, metavar="R,G,B", help="likewise")


def _add_selection(build: argparse.ArgumentParser) -> None:
    build.add_argument("--per-class", type=at_least(1), default=40, metavar="N", help="probes of a class (40)")
    build.add_argument(
        "--drop-duplicates", action="store_true", help="of probes that show nearly the same picture the first stays"
    )
    build.add_argument("--drop-leaks", action="store_true", help="probes that --train has are left out")
    build.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of the selection (0)")
    build.add_argument("--min-area", type=float, default=0.02, metavar="SHARE", help="of the picture, least (0.02)")
    build.add_argument("--max-area", type=float, default=0.7, metavar="SHARE", help="of the picture, most (0.7)")
    build.add_argument(
        "--exif", choices=("auto", "apply", "ignore"), default="auto", help="whether pictures are turned"
    )


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--train",
        metavar="SOURCE",
        help="what is trained on, annotations or package.module:name of a dataset: are probes among it?",
    )


def _add_preview(parts: Commands) -> None:
    preview = parts.add_parser("preview", help="draw a saved set as the model receives it, with what is annotated")
    preview.add_argument("folder", type=Path, metavar="DIR", help="of the set")
    preview.add_argument("-o", "--output", type=Path, metavar="FILE", help="to write, a .png (preview.png in DIR)")
    preview.add_argument("--per-class", type=at_least(1), metavar="N", help="at most so many; by default 64 in all")
    preview.set_defaults(run=_run("preview"))


def _add_summary(parts: Commands) -> None:
    summary = parts.add_parser("summary", help="what a saved set can show, and what is missing", description=STATUS)
    summary.add_argument("folder", type=Path, metavar="DIR", help="of the set")
    summary.add_argument("--json", action="store_true", help="for programs")
    summary.add_argument("--epochs", type=at_least(1), metavar="N", help="of the training, with a look each")
    _add_train(summary)
    summary.set_defaults(run=_run("summary"))


def _run(part: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        """Heavy imports wait until here. What is warned of is said in a line each, and nothing is raised."""
        from camdebug.cli import probe_sets

        command: Callable[[argparse.Namespace], int] = getattr(probe_sets, part)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                status, wrong = command(options), None
            except WrongInputError as error:
                status, wrong = 2, str(error)
        notes = [f"note: {in_options(str(warning.message))}" for warning in caught] if wrong is None else [wrong]
        for text in dict.fromkeys(notes):
            say(f"camdebug probes {part}: {line_of(text)}", sys.stderr)
        return status

    return run
