"""``camdebug doctor``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from camdebug.cli.parsing import Commands, at_least
from camdebug.wording import visible


def add_doctor(commands: Commands) -> None:
    """Add the command to the parser's."""
    doctor = commands.add_parser(
        "doctor",
        help="one dry run before a training: what looks will do with a model and pictures, and what they will refuse",
        description="The exit status is 0 without problems, 1 with some, 2 when model and pictures cannot be loaded.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    doctor.add_argument(
        "target",
        metavar="package.module:name",
        help="a function without arguments that returns (model, probes_or_batch), or a dict with the keys model and "
        "probes or batch; looked for in the current directory too",
    )
    doctor.add_argument("--target-layer", metavar="NAME", help="dotted name; by default the last spatial stage")
    doctor.add_argument("--method", default="hirescam", metavar="NAME", help="of the maps")
    doctor.add_argument("--chunk-size", type=at_least(1), default=32, metavar="N", help="pictures in one forward")
    doctor.add_argument("--epochs", type=at_least(1), metavar="N", help="of the training, with a look each")
    doctor.add_argument("--picture", type=Path, metavar="FILE", help="PNG of boxes and maps over some pictures")
    doctor.add_argument("--json", type=Path, metavar="FILE", help="the report for programs")
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """0 without problems, 1 with some, 2 when there is nothing to examine or what is asked for cannot be written."""
    from camdebug.doctor.examine import examine
    from camdebug.doctor.loading import LoadingError, load

    try:
        model, pictures = load(options.target)
        report = examine(
            model,
            pictures,
            method=options.method,
            target_layer=options.target_layer,
            chunk_size=options.chunk_size,
            epochs=options.epochs,
        )
    except (LoadingError, TypeError, ValueError) as error:
        print(f"camdebug doctor: {visible(in_options(str(error)))}", file=sys.stderr)
        return 2
    print(in_options(str(report)))
    try:
        if options.json is not None:
            report.save(options.json)
        if options.picture is not None and report.picture is not None:
            report.picture.save(options.picture)
            print(f"{'picture':<11}{options.picture}")
    except (OSError, ValueError) as error:  # Pillow's error for an unknown file ending is a ValueError
        print(f"camdebug doctor: cannot write it ({error})", file=sys.stderr)
        return 2
    return 0 if report.ok else 1


def in_options(text: str) -> str:
    """Arguments as the command has them; several layers can be asked for in Python only."""
    text = re.sub(r"\btarget_layer=(?=['\w])", "--target-layer ", text)
    return re.sub(r"\btarget_layer\b(?!=\[)=?", "--target-layer", text).replace("chunk_size", "--chunk-size")
