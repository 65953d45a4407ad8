"""What a run is: versions, method, layer, probes, seeds and command. Written once, before the first epoch."""

from __future__ import annotations

import platform
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from importlib import import_module, metadata

SCHEMA = 1
"""Of everything in the folder. Readers of another number refuse it by name."""

LEFT_OUT = "(left out)"

_LONGEST = 2048
"""Characters that are kept of an argument."""

_SECRET = re.compile(
    r"(?:(?:api|access|auth|private|secret)?(?:key|token)|auth|authorization|bearer"
    r"|[a-z]*(?:password|passwd|passphrase|pwd|secret|credential)s?)[0-9]*"
)
_BORDER = re.compile(r"[-_.]|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Each begins where no name goes on and takes no part twice, so that the time grows as the length.
_NAME = r"(?<![\w.\-])(?P<name>[\w.\-]+)[\\\"'\])}]*"
_NAME_AND_VALUE = re.compile(rf"{_NAME}(?:(?P<sign>\s*[=:])\s*|\s+(?!--))(?=\S)")
_NAME_AT_THE_END = re.compile(rf"{_NAME}(?P<sign>\s*:)?\s*\Z")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _camdebug() -> str:
    # Not by an import statement: the package's face names everything, also what this layer may not know.
    return str(import_module("camdebug").__version__)


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _lightning() -> str:
    found = [(package, _version(package)) for package in ("pytorch-lightning", "lightning")]
    return ", ".join(f"{package} {version}" for package, version in found if version)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The facts of a run. What has a default is found out when it is made.

    Attributes:
        run_id: the same after the run was resumed.
        method: name of the CAM method.
        layer: dotted name of the target layer, or of several; background evidence is that of HiResCAM at the first one,
            whatever the method.
        layer_reason: why that layer; and, where the method does not read it or its maps have another grid, that.
        weights: which weights looks see, such as ``"current"`` or ``"averaged"``.
        probe_fingerprint: of the probe set.
        probes: number of probes.
        source_ids: one for each probe, or empty.
        class_names: by class index.
        class_slugs: the same as they stand in metric names.
        seed: of donors and permutations.
        alpha: share of clean runs that may raise an alarm.
        every_n_epochs: cadence of looks.
        ranks: number of processes that train.
        name: of the monitor.
        command: ``sys.argv``, without the values of what looks like a secret; see :func:`without_secrets`.
        created: UTC, ISO 8601.
        camdebug: version, as ``torch`` and ``python``; ``lightning`` names its package as well.
        platform: operating system and machine.
        schema: of the record.
    """

    run_id: str
    method: str
    layer: str
    layer_reason: str
    weights: str
    probe_fingerprint: str
    probes: int
    source_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    class_slugs: tuple[str, ...]
    seed: int
    alpha: float
    every_n_epochs: int
    ranks: int = 1
    name: str = "camdebug"
    command: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))
    created: str = field(default_factory=_now)
    camdebug: str = field(default_factory=_camdebug)
    torch: str = field(default_factory=lambda: _version("torch"))
    lightning: str = field(default_factory=_lightning)
    python: str = field(default_factory=platform.python_version)
    platform: str = field(default_factory=platform.platform)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "command", without_secrets(self.command))

    def differs_in(self, other: Manifest) -> str | None:
        """Whose record this is that the other may not go on in, such as ``"another run"``; ``None`` when it may.

        A record is of one run, on one probe set, by one method at the same layers: other looks could not be compared.
        """
        if self.run_id != other.run_id:
            return "another run"
        if self.probe_fingerprint != other.probe_fingerprint:
            return "this run on other probes"
        if self.method != other.method:
            return "this run by another method"
        return None if self.layer == other.layer else "this run at another layer"


def new_run_id() -> str:
    """An id that no other run has. Moves no random number generator of the program."""
    return secrets.token_hex(16)


def without_secrets(command: Sequence[str]) -> tuple[str, ...]:
    """A command without what looks like a secret: logins in URLs, and values whose name ends in a word for one.

    Such a word is ``key``, ``token``, ``password``, ``secret``, ``authorization`` and the like; words of a name are
    told apart by ``-``, ``_``, ``.`` or capitals. Long arguments are cut.

    >>> without_secrets(["train.py", "--token", "abc", "wandb.apiKey=xyz", "--max_tokens", "512"])
    ('train.py', '--token', '(left out)', 'wandb.apiKey=(left out)', '--max_tokens', '512')
    """
    kept: list[str] = []
    hide = False
    for part in map(str, command):
        hidden = hide and not part.startswith("--")
        kept.append(LEFT_OUT if hidden else _without_values(_cut(_LOGIN.sub(LEFT_OUT, part))))
        hide = _awaits_a_secret(part[-_LONGEST:])
    return tuple(kept)


def _cut(part: str) -> str:
    return part if len(part) <= _LONGEST else f"{part[: _LONGEST - 3]}..."


def _without_values(part: str) -> str:
    """From the first value of a secret on, all is left out: where it ends cannot be known."""
    for found in _NAME_AND_VALUE.finditer(part):
        if _names_a_secret(found):
            return part[: found.end()] + LEFT_OUT
    return part


def _awaits_a_secret(part: str) -> bool:
    """The next argument is one."""
    found = _NAME_AT_THE_END.search(part)
    return found is not None and _names_a_secret(found)


def _names_a_secret(found: re.Match[str]) -> bool:
    """As ``api_key=`` or ``db.password:`` do, or ``--api-key`` or ``Bearer`` without a sign."""
    name = found["name"]
    named = found["sign"] or name.startswith("-") or name.lower() == "bearer"
    return bool(named) and _SECRET.fullmatch(_BORDER.split(name.rstrip("-_."))[-1].lower()) is not None
