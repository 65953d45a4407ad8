import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camdebug.sinks import Picture, sinks_for, slug, unique_slugs
from camdebug.sinks.broadcast import Broadcast

SAFE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


@given(st.text())
def test_any_name_becomes_a_safe_slug(name):
    assert SAFE.fullmatch(slug(name))


@given(st.lists(st.text(alphabet="aA b/é\U0001f998", max_size=90), max_size=30, unique=True))
def test_slugs_of_a_set_differ_even_without_case(names):
    slugs = unique_slugs(names)
    assert all(SAFE.fullmatch(s) for s in slugs)
    assert len({s.lower() for s in slugs}) == len(names)


@pytest.mark.parametrize("name", ["", "   ", "\U0001f998", "日本", "///", "..", "\ud800"])
def test_names_without_a_safe_character_get_a_stable_slug(name):
    assert slug(name).startswith("class-")
    assert slug(name) == slug(name)


def test_plain_names_stay_readable():
    assert unique_slugs(["dog", "grey wolf", "naïve <b>"]) == ("dog", "grey-wolf", "naive-b")


def test_long_names_that_differ_at_the_end_stay_different():
    assert slug("x" * 200 + "a") != slug("x" * 200 + "b")


class Recorder:
    def __init__(self, name="good", fails=()):
        self.name, self.fails, self.calls = name, fails, []

    def _take(self, what, *values):
        self.calls.append((what, *values))
        if what in self.fails:
            raise OSError("disk full")

    def pictures(self, pictures, *, step):
        self._take("pictures", len(pictures), step)

    def text(self, tag, markdown, *, step):
        self._take("text", tag, step)

    def alert(self, title, text, *, step):
        self._take("alert", title, step)

    def facts(self, facts):
        self._take("facts", dict(facts))


def send_all(sinks):
    everywhere = Broadcast(sinks)
    everywhere.facts({"a": 1})
    everywhere.text("t", "words", step=1)
    everywhere.pictures([Picture("a/b", np.zeros((2, 2, 3), np.uint8), "")], step=2)
    everywhere.alert("title", "words", step=3)
    return everywhere


def test_a_failing_sink_is_reported_once_and_the_others_get_everything():
    first, broken, last = Recorder(), Recorder("broken", fails=("text", "pictures", "alert")), Recorder()
    everywhere = send_all([first, broken, last])
    expected = [("facts", {"a": 1}), ("text", "t", 1), ("pictures", 1, 2), ("alert", "title", 3)]
    assert first.calls == last.calls == broken.calls == expected
    assert [problem.what for problem in everywhere.problems] == [
        f"broken did not take {what}" for what in ("a text", "pictures", "an alert")
    ]
    assert {problem.source for problem in everywhere.problems} == {"broken"}
    assert str(everywhere.problems[0]).startswith("broken did not take a text (OSError: disk full). Training and")


def test_sinks_that_work_are_not_reported():
    assert send_all([Recorder(), Recorder()]).problems == []


def test_an_interrupt_is_no_failure_of_a_sink():
    class Interrupted(Recorder):
        def text(self, tag, markdown, *, step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_all([Interrupted()])


def loggers(*names):
    return [type(name, (), {})() for name in names]


def test_loggers_are_recognised_by_name_and_by_base_class():
    class MyLogger(type("WandbLogger", (), {})):
        pass

    found = sinks_for([*loggers("TensorBoardLogger", "CSVLogger", "WandbLogger"), MyLogger()])
    assert [sink.name for sink in found] == ["TensorBoard", "W&B", "W&B"]


def test_dummy_and_unknown_loggers_have_no_sink():
    class DummyLogger(type("TensorBoardLogger", (), {})):
        pass

    assert sinks_for([DummyLogger(), *loggers("MLFlowLogger"), None]) == []
    assert sinks_for([]) == []


def test_the_group_of_a_picture_is_its_tag_without_the_name():
    image = np.zeros((1, 1, 3), np.uint8)
    assert Picture("camdebug/probe/3-dog", image, "").group == "camdebug/probe"
    assert Picture("alone", image, "").group == "alone"
