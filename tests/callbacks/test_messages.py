"""Words that can never hurt: said once, on rank zero, whatever the filters and the terminal are."""

import sys
import warnings
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from small_training import ours

from camdebug.callbacks.messages import CamdebugWarning, Messenger, ShortcutWarning
from camdebug.wording import told


class WordlessError(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


@pytest.mark.parametrize("category", [CamdebugWarning, ShortcutWarning])
def test_warnings_turned_into_errors_are_printed_and_end_nothing(capsys, category):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Messenger().warn("look here", category)
    assert capsys.readouterr().err == f"{category.__name__}: look here\n"


def test_a_second_training_in_the_same_process_is_warned_as_well():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")  # Python's own rule: once for a text and a place
        for _ in range(2):
            Messenger().warn("look here")
        for _ in range(2):
            warnings.warn("the rule", CamdebugWarning, stacklevel=1)
    assert [str(w.message) for w in seen] == ["look here", "look here", "the rule"]
    assert seen[0].filename == "camdebug"


def test_names_that_the_terminal_cannot_print_are_printed_all_the_same(monkeypatch):
    terminal = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    Messenger().say("猫")
    assert terminal.buffer.getvalue() == b"\\u732b\n"


def test_a_closed_terminal_ends_nothing(monkeypatch):
    terminal = StringIO()
    terminal.close()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, terminal)
    Messenger().say("hello")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Messenger().warn("hello")


def test_an_error_is_told_in_one_line():
    assert told(ValueError("first\nsecond")) == "ValueError: first"
    assert told(ValueError()) == "ValueError"
    assert told(WordlessError()) == "WordlessError"


def test_each_thing_is_said_once_and_nothing_on_other_ranks():
    messages = Messenger()
    with ours() as said:
        for _ in range(2):
            messages.warn_once("one")
            with messages.harmless("two"):
                raise ValueError("three")
        messages.active = False
        messages.warn("four")
        messages.say("five")
    assert said == ["one", "camdebug: two failed (ValueError: three). Training goes on."]
