import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from camdebug.sinks.base import Picture
from camdebug.sinks.tensorboard import TensorBoardSink


@pytest.fixture
def written(tmp_path):
    """A sink, and a function that closes it and reads everything back."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))

    def read():
        writer.close()
        return EventAccumulator(str(tmp_path), size_guidance={"images": 0, "tensors": 0}).Reload()

    return TensorBoardSink(SimpleNamespace(experiment=writer)), read


def smooth(shift=0):
    y, x = np.mgrid[0:90, 0:120]
    return np.stack([x * 2, y * 2, (x + y + shift) % 200], 2).astype(np.uint8)


def text_of(events, tag):
    return [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(f"{tag}/text_summary")]


def test_pictures_come_back_as_jpeg_under_their_tags_and_steps(written):
    sink, read = written
    for step in (3, 17):
        sink.pictures(
            [Picture("camdebug/probe/0-cat", smooth(step), "a"), Picture("camdebug/probe/1-dog", smooth(), "b")],
            step=step,
        )
    events = read()
    assert sorted(events.Tags()["images"]) == ["camdebug/probe/0-cat", "camdebug/probe/1-dog"]
    for event in events.Images("camdebug/probe/0-cat"):
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        assert picture.format == "JPEG"
        assert (event.width, event.height) == picture.size == (120, 90)
        assert np.abs(np.asarray(picture).astype(int) - smooth(event.step)).mean() < 4
    assert [e.step for e in events.Images("camdebug/probe/0-cat")] == [3, 17]


def test_all_steps_are_kept_not_ten(written):
    sink, read = written
    for step in range(25):
        sink.pictures([Picture("a/b", smooth(), "")], step=step)
    assert [e.step for e in read().Images("a/b")] == list(range(25))


def test_html_in_text_is_shown_and_code_spans_stay(written):
    sink, read = written
    sink.text("camdebug/verdict", "class <script>alert(1)</script> & `<b>`\nnext", step=5)
    assert text_of(read(), "camdebug/verdict") == [
        (5, "class &lt;script&gt;alert(1)&lt;/script&gt; &amp; `<b>`  \nnext")
    ]


def test_an_alert_is_a_text_of_its_own(written):
    sink, read = written
    sink.alert("kangaroo: suspect", "Look at #12.", step=8)
    assert text_of(read(), "camdebug/alert") == [(8, "**kangaroo: suspect**\n\nLook at #12.")]


def test_facts_are_a_table_that_no_value_can_break(written):
    sink, read = written
    sink.facts({"layer": "a|b", "note": "<i>\nx", "probes": 40})
    ((step, table),) = text_of(read(), "camdebug/facts")
    assert step == 0
    assert table.splitlines()[2:] == ["| layer | a&#124;b |", "| note | &lt;i&gt; x |", "| probes | 40 |"]


def test_nothing_to_show_writes_nothing(written):
    sink, read = written
    sink.pictures([], step=0)
    assert read().Tags()["images"] == []


def test_tensorboardx_gets_its_own_call():
    calls = []
    writer = type(
        "W", (), {"__module__": "tensorboardX.writer", "add_image": lambda self, *a, **k: calls.append((a, k))}
    )
    image = smooth()
    TensorBoardSink(SimpleNamespace(experiment=writer())).pictures([Picture("a/b", image, "")], step=4)
    assert calls == [(("a/b", image, 4), {"dataformats": "HWC"})]


def test_every_alert_of_a_look_is_in_the_text_that_tensorboard_shows_of_it(written):
    sink, read = written
    for step, title in ((3, "a watch"), (3, "b watch"), (9, "a suspect")):
        sink.alert(f"camdebug: {title}", f"Because of {title}.", step=step)
    shown = dict(text_of(read(), "camdebug/alert"))  # the last of each step
    assert shown[3].index("a watch") < shown[3].index("Because of b watch.")
    assert shown[3].count("**") == 4
    assert "a suspect" in shown[9]
    assert "a watch" not in shown[9]
