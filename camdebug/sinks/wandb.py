"""Weights & Biases: pictures by group, texts as HTML panels, native alerts, facts in the run's config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from camdebug.sinks.base import Picture, PictureBox, safe_markdown

_LONGEST_LIST = 108
_LONGEST_TITLE = 63


class WandbSink:
    """Logs through a Lightning ``WandbLogger``, whose own methods keep steps aligned with the scalars.

    The boxes that are drawn into a picture stay there, because exports and reports lose native ones; the same boxes
    are also given natively, to be filtered and switched off in the panel.

    Args:
        logger: a ``WandbLogger``; offline and disabled runs work as well.
        prefix: name of the facts in the config.
    """

    name = "W&B"

    def __init__(self, logger: Any, *, prefix: str = "camdebug") -> None:  # noqa: ANN401 - recognised by name, Lightning is not imported here
        self._logger = logger
        self._prefix = prefix
        self._facts: dict[str, str | int | float] = {}

    def pictures(self, pictures: Sequence[Picture], *, step: int) -> None:
        """Log one list for each group of tags; W&B cuts lists at 108, so longer ones are split."""
        groups: dict[str, list[Picture]] = {}
        for picture in pictures:
            groups.setdefault(picture.group, []).append(picture)
        for key, members in groups.items():
            for start in range(0, len(members), _LONGEST_LIST):
                suffix = f"-{start // _LONGEST_LIST + 1}" if start else ""
                self._log_list(key + suffix, members[start : start + _LONGEST_LIST], step)

    def text(self, tag: str, markdown: str, *, step: int) -> None:
        """Log a text as an HTML panel with a step slider: a table would cut its lines."""
        import io

        import wandb

        self._logger.log_metrics({tag: wandb.Html(io.StringIO(_page(markdown)), inject=False)}, step)

    def alert(self, title: str, text: str, *, step: int) -> None:
        """Send a native alert; the rate is the caller's to limit."""
        run = self._logger.experiment
        short = title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 3].rstrip() + "..."
        # a wait of 0 would count as "not given", which means one minute in which alerts are dropped
        run.alert(title=short, text=text, level="WARN", wait_duration=0.001)

    def facts(self, facts: Mapping[str, str | int | float]) -> None:
        """Record the facts under the prefix in the run's config."""
        self._facts |= facts
        self._logger.experiment.config.update({self._prefix: dict(self._facts)}, allow_val_change=True)

    def _log_list(self, key: str, pictures: list[Picture], step: int) -> None:
        options: dict[str, list[Any]] = {
            "caption": [p.caption for p in pictures],
            "file_type": ["jpg"] * len(pictures),
        }
        if any(p.boxes for p in pictures):
            options["boxes"] = [_native(p.boxes) for p in pictures]
        self._logger.log_image(key, [p.image for p in pictures], step=step, **options)


def _native(boxes: Sequence[PictureBox]) -> dict[str, Any] | None:
    """Boxes in W&B's own form, each distinct label a class of its own."""
    if not boxes:
        return None
    labels = {label: number for number, label in enumerate(dict.fromkeys(b.label for b in boxes))}
    data = [
        {
            "position": {"minX": b.left, "minY": b.top, "maxX": b.right, "maxY": b.bottom},
            "domain": "pixel",
            "class_id": labels[b.label],
            "box_caption": b.label,
        }
        for b in boxes
    ]
    return {"object": {"box_data": data, "class_labels": {n: label for label, n in labels.items()}}}


def _page(text: str) -> str:
    """A small page from Markdown whose own HTML is escaped, in colours that read on dark themes too."""
    import markdown

    style = (
        "body { font: 14px/1.5 system-ui, sans-serif; margin: 8px; color: #1a1c20; background: #fcfcfa } "
        "table { border-collapse: collapse } td, th { border: 1px solid #c9c9c4; padding: 2px 8px; text-align: left }"
    )
    body = markdown.markdown(safe_markdown(text), extensions=["tables"])
    return f'<!doctype html><meta charset="utf-8"><style>{style}</style><body>{body}</body>'
