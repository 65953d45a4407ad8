"""What is proven, refused and untested of "training is not harmed", as tables made from the names of the tests.

``python -m tests.harmless`` writes the short one into the README and the one with all names into ``HARMLESS.md``; a
test holds both to it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
README, NAMES = ROOT / "README.md", ROOT / "tests" / "HARMLESS.md"
BEGIN, END = "<!-- made by python -m tests.harmless -->", "<!-- end -->"
PATHS = ("tests/callbacks", "tests/store", "tests/cam/test_borrow.py")
BITS = "test_bit_identity.py::test_a_training_ends_with_the_same_bits"
PROVEN, REFUSED, UNTESTED = "proven", "refused, by one message", "untested"


@dataclass(frozen=True)
class Row:
    """A line of the table: the tests whose node id the pattern is found in, unless an earlier row has them.

    ``cases``: the cases of its tests have names for people.
    """

    status: str
    what: str
    pattern: str
    cases: bool = False


SAME_BITS = Row(PROVEN, "the same bits", re.escape(BITS))
CONTROL = (
    r"test_identity_guards"
    r"|::test_(without|if)_(?!a_limit)\w*(would|differ|lost|end_the_training|active|changed|mix|fails|leaves)"
)
ROWS = (
    Row(PROVEN, "each guard is needed: what goes wrong without it", CONTROL),
    Row(
        REFUSED,
        "strategies",
        r"test_unsupported_strategies(?!.*not_refused)|test_sharded.*refused|same_bits_on.*(a part is|tensor_p)",
    ),
    Row(REFUSED, "models", r"(lazy|torchscript|no_module)_.*refused|cannot_be_explained|lending|layer_is_searched"),
    Row(REFUSED, "arguments", r"wrong_argument|refused_by_name|refused_before|is_refused_by"),
    SAME_BITS,
    Row(PROVEN, "DDP, two and three processes", r"test_(shared_looks|two_ranks|ranks|parting_ranks)\.py", cases=True),
    Row(PROVEN, "FSDP2, two and three processes", r"test_sharded_looks", cases=True),
    Row(PROVEN, "faults in the model", r"test_faults_in_(the_model|strange)", cases=True),
    Row(PROVEN, "memory that runs out", r"test_faults_in_memory", cases=True),
    Row(PROVEN, "faults in loggers", r"test_faults_in_loggers", cases=True),
    Row(PROVEN, "full disks, lost folders", r"test_faults_on_disk|test_full_disk|test_record.*(disk|cannot)"),
    Row(PROVEN, "kills at every moment of a write", r"test_killed|test_record.*killed"),
    Row(PROVEN, "interrupts", r"test_interrupts", cases=True),
    Row(PROVEN, "states of checkpoints", r"test_states_of_any_kind|test_resume|test_other_probes", cases=True),
    Row(PROVEN, "unknown Trainers, and faults of our own", r"test_faults_in_the_trainer", cases=True),
    Row(PROVEN, "whose a record is, and damage to it", r"test_record|store/test_(folders|damage|hostile)"),
    Row(PROVEN, "hostile names; nothing that is loaded runs", r"test_hostile_names|test_nothing_loaded_runs"),
    Row(PROVEN, "packages, versions, LightningCLI", r"test_(packages|lightning_cli|configure_callbacks|versions)"),
    Row(PROVEN, "two monitors", r"test_two_monitors"),
    Row(PROVEN, "time", r"test_overhead"),
)
NOT_TRIED = (
    "anything on a GPU, NCCL among it",
    "FSDP1 and DeepSpeed beyond their refusal, FSDP2 with tensor parallelism, offloading or hybrid sharding",
    "XLA and other accelerators",
    "Windows and macOS",
    "TransformerEngine and bitsandbytes precision",
    "W&B with a server",
    "tensorboardX on a full disk",
)


@dataclass(frozen=True)
class Test:
    """A test by its node id. ``slow``: it is run with ``pytest -m slow`` alone."""

    node: str
    slow: bool = False


_COLLECT = """
import sys, pytest
class Tell:
    def pytest_collection_modifyitems(self, items):
        for item in items:
            print("TEST", item.nodeid, int(item.get_closest_marker("slow") is not None), sep="\\t")
sys.exit(pytest.main(["--collect-only", "-qq", "-m", "", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[Tell()]))
"""


@cache
def collected() -> tuple[Test, ...]:
    """All tests that the tables are made from, slow ones included."""
    command = [sys.executable, "-c", _COLLECT, *PATHS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    found = [line.split("\t") for line in done.stdout.splitlines() if line.startswith("TEST\t")]
    return tuple(Test(node, bool(int(slow))) for _, node, slow in found)


def sentence_of(node: str) -> str:
    """The name of a test as a sentence.

    >>> sentence_of("tests/a.py::test_bits_are_the_same[two optimisers]")
    'bits are the same'
    """
    return re.sub(r"^test_", "", node.partition("[")[0].rpartition("::")[2]).replace("_", " ")


def case_of(node: str) -> str:
    """The words of a test's case, without numbers and switches; empty when it has none for people.

    >>> case_of("tests/a.py::test_a_model_that_fails[HookFails-False]"), case_of("tests/a.py::test_it[2-uneven data]")
    ('hook fails', 'uneven data')
    >>> case_of("tests/a.py::test_it[rank 1: ValueError-None]"), case_of("tests/a.py::test_it[options1]")
    ('', '')
    """
    parts = node.partition("[")[2].removesuffix("]").split("-")
    words = [part for part in parts if not re.fullmatch(r"True|False|None|said\d|\d*|[a-z]+\d+", part)]
    if len(words) != 1 or re.search(r"[:<]", words[0]):
        return ""
    is_class = re.fullmatch(r"[A-Z]\w*[a-z]", words[0]) and not words[0].endswith("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words[0]).lower() if is_class else words[0].replace("_", " ")


def told(nodes: Iterable[str], *, cases: bool) -> str:
    """The sentences of tests, each once, and with ``cases`` what they were tried with behind them."""
    found: dict[str, dict[str, None]] = {}
    for node in nodes:
        case = case_of(node) if cases else ""
        found.setdefault(sentence_of(node), {}).update({case: None} if case else {})
    return " · ".join(sentence + (f" ({', '.join(names)})" if names else "") for sentence, names in found.items())


@dataclass(frozen=True)
class Line:
    """A row that is filled in: how many tests there are, how many of them slow, and their names."""

    status: str
    what: str
    tests: int
    slow: int
    names: str


def by_row(tests: Iterable[Test]) -> dict[Row, list[Test]]:
    """The tests of each row."""
    found: dict[Row, list[Test]] = {row: [] for row in ROWS}
    for test in tests:
        row = next((r for r in ROWS if re.search(r.pattern, test.node)), None)
        if row is not None:
            found[row].append(test)
    return found


def lines_of(tests: Iterable[Test], groups: Mapping[str, Iterable[str]]) -> list[Line]:
    """What is proven, then what is refused.

    Args:
        tests: all of them.
        groups: names of the configurations whose bits are compared, by group.
    """
    lines = []
    for row, members in by_row(tests).items():
        if row is SAME_BITS:
            group_of = {name: group for group, names in groups.items() for name in names}
            parts: dict[str, list[Test]] = {}
            for test in members:
                parts.setdefault(group_of[test.node.partition("[")[2].removesuffix("]")], []).append(test)
            named = [(f"the same bits: {g}", t, " · ".join(groups[g])) for g, t in parts.items()]
        else:
            named = [(row.what, members, told((t.node for t in members), cases=row.cases))]
        lines += [Line(row.status, what, len(t), sum(x.slow for x in t), names) for what, t, names in named]
    return sorted(lines, key=lambda line: (PROVEN, REFUSED).index(line.status))


def short_table(lines: Sequence[Line]) -> str:
    """For the README: how many tests of what."""
    rows = [(line.status, line.what, f"{line.tests}" + (f", {line.slow} slow" if line.slow else "")) for line in lines]
    rows += [(UNTESTED, what, "") for what in NOT_TRIED]
    return "\n".join(["| | | tests |", "| --- | --- | --- |", *map(_row, rows)])


def long_table(lines: Sequence[Line]) -> str:
    """All names."""
    head = (
        "# What is proven, and what is refused, by the names of the tests\n\nMade by `python -m tests.harmless`. Slow "
        "ones are run with `pytest -m slow`.\n"
    )
    parts = [f"## {line.what} ({line.status}, {line.tests} tests)\n\n{_plain(line.names)}\n" for line in lines]
    return "\n".join([head, *parts])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    return re.sub(r"([|<>*_`\[\]\\])", r"\\\1", "".join(c for c in text if c.isprintable()))


@cache
def current() -> tuple[str, str]:
    """The tables as they should stand, short and long."""
    sys.path.insert(0, str(ROOT / "tests" / "callbacks"))
    from identity_cases import GROUPS

    lines = lines_of(collected(), GROUPS)
    return short_table(lines), long_table(lines)


def in_readme(text: str) -> str:
    """The table as it stands in this text of the README."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    short, long = current()
    text = README.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{short}\n{END}{after}", encoding="utf-8")
    NAMES.write_text(long, encoding="utf-8")


if __name__ == "__main__":
    main()
