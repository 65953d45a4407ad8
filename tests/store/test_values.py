"""What is read back is what was found: every value, every field."""

import json
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from types import NoneType
from typing import get_args

import numpy as np
import pytest
import torch
from looks import leaves, manifest, real_looks, same
from torch import Tensor

from camdebug.records import EpochRecord, Validity
from camdebug.store import RecordError, RecordWriter, epoch, load_record
from camdebug.store.epoch import FOLLOWS, to_files
from camdebug.store.plain import field_types, from_plain


def written(folder, *records, **options):
    writer = RecordWriter.open(folder, manifest(**options))
    for record in records:
        writer.write(record, step=100 * record.epoch)
    writer.finish("completed")
    return load_record(writer.folder)


def differences(one, other):
    ours, theirs = dict(leaves(one)), dict(leaves(other))
    assert ours.keys() == theirs.keys()
    return [path for path in ours if not same(ours[path], theirs[path])]


@pytest.fixture(scope="module")
def looks():
    return real_looks()


@pytest.mark.parametrize("kind", [{}, {"classes": 3, "side": 28}, {"annotated": False}])
def test_a_real_look_is_read_back_bit_for_bit(tmp_path, kind):
    found = real_looks(**kind)
    record = written(tmp_path / "record", *found)
    assert record.epochs == (0, 1)
    assert [differences(record.record(look.epoch), look) for look in found] == [[], []]


def test_the_real_look_has_something_of_everything(looks):
    """Otherwise the test above would say little."""
    for name in ("contrasts", "swaps", "places", "verdicts", "classes", "steadiness", "wrong_reasons"):
        assert getattr(looks[0], name), name
    assert 0 < int(looks[0].label_maps.correct.sum()) < len(looks[0].label_maps)
    assert looks[0].steadiness.shift is not None


def _parts(kind):
    """All dataclasses that a record is made of."""
    yield kind
    for inner in field_types(kind).values():
        for part in [inner, *get_args(inner)]:
            if is_dataclass(part):
                yield from _parts(part)


def _leaf_types(kind):
    for inner in field_types(kind).values():
        yield from (part for part in (get_args(inner) or (inner,)) if not is_dataclass(part))


def test_every_field_of_every_part_is_stored_or_named_as_not_stored(looks):
    """A field that is added to a record comes along, or fails here."""
    parts = set(_parts(EpochRecord))
    assert {p.__name__ for p in parts} >= {"Heatmaps", "LocalisationScores", "Extent", "Similarity", "ObjectFollowing"}
    simple = {str, int, float, bool, Tensor, NoneType, Ellipsis}
    for part in parts:
        for leaf in _leaf_types(part):
            assert leaf in simple or issubclass(leaf, Enum), f"{part.__name__}: {leaf}"
    stored = {f"label_maps.{name}" for name in ("maps",)} | {f"predicted_maps.{name}" for name in ("maps",)}
    files = to_files(looks[0], step=0)
    content = json.loads(files["look.json"])["content"]
    columns = json.loads(files["probes.jsonl"].splitlines()[0])
    for field in fields(EpochRecord):
        value = getattr(looks[0], field.name)
        assert field.name in content
        for path, _ in leaves(value, field.name):
            top, _, name = path.partition(".")
            kept_here = top in ("label_maps", "predicted_maps", "scores")
            assert not kept_here or name in columns or name in content[top] or path in FOLLOWS or path in stored, path
    assert {path for path in FOLLOWS if path not in dict(leaves(looks[0]))} == set()


def test_what_is_not_stored_follows_from_what_is(looks):
    for look in (*looks, *real_looks(classes=3, side=28)):
        values = dict(leaves(look))
        assert all(same(values[target], values[source]) for target, source in FOLLOWS.items())


def test_a_field_of_an_unknown_kind_is_refused_not_lost(looks):
    with pytest.raises(TypeError, match=r"seconds: a record cannot hold a set"):
        to_files(replace(looks[0], seconds={1}), step=0)


def test_what_is_not_finite_is_null_in_strict_json(tmp_path, looks):
    scores = looks[0].scores
    odd = replace(scores, outside_lift=torch.full_like(scores.outside_lift, torch.inf))
    contrast = replace(looks[0].contrasts[0], value=float("nan"), standard_error=float("-inf"))
    record = written(tmp_path / "r", replace(looks[0], scores=odd, contrasts=(contrast,), swaps=(), seconds=1.5))
    for name in ("look.json", "probes.jsonl"):
        text = (record.folder / "epochs/000000" / name).read_text("ascii")
        assert "NaN" not in text
        assert "Infinity" not in text
    back = record.record(0)
    assert np.isnan(back.contrasts[0].value)
    assert np.isnan(back.contrasts[0].standard_error)
    assert bool(back.scores.outside_lift.isnan().all())
    assert record.look(0)["contrasts"][0]["value"] is None
    assert {row["outside_lift"] for row in record.probe_rows()} == {None}


def test_maps_that_are_not_finite_come_back_as_they_were(tmp_path, looks):
    maps = looks[0].label_maps.maps.clone()
    maps[0], maps[1, 0, 0] = torch.nan, torch.inf
    odd = replace(looks[0], label_maps=replace(looks[0].label_maps, maps=maps))
    back = written(tmp_path / "r", odd).record(0)
    assert torch.equal(back.label_maps.maps.nan_to_num(-1, posinf=-2), maps.nan_to_num(-1, posinf=-2))
    assert torch.equal(back.predicted_maps.maps, looks[0].predicted_maps.maps)


def test_half_precision_is_used_for_large_maps_where_it_spoils_nothing(looks, monkeypatch):
    def dtype(scale, room):
        monkeypatch.setattr(epoch, "_SMALL", room)
        label = replace(looks[0].label_maps, maps=looks[0].label_maps.maps * scale)
        predicted = replace(looks[0].predicted_maps, maps=looks[0].predicted_maps.maps * scale)
        files = to_files(replace(looks[0], label_maps=label, predicted_maps=predicted), step=0)
        return json.loads(files["look.json"])["content"]["arrays"]["label_maps"]["dtype"]

    found = looks[0].label_maps.maps, looks[0].predicted_maps.maps
    differing = sum(not torch.equal(label, predicted) for label, predicted in zip(*found, strict=True))
    size = 4 * (len(found[0]) + differing) * found[0][0].numel()
    assert [dtype(1, room) for room in (epoch._SMALL, size, size - 1)] == ["float32", "float32", "float16"]
    assert dtype(1e7, 0) == "float32"  # beyond 65504
    assert dtype(1e-7, 0) == "float32"  # where float16 has a few bits left


def test_half_precision_comes_back_within_a_thousandth_of_the_peak(tmp_path, looks, monkeypatch):
    monkeypatch.setattr(epoch, "_SMALL", 0)
    writer = RecordWriter.open(tmp_path / "r", manifest())
    writer.write(looks[0], step=0)
    record = load_record(writer.folder)
    assert record.maps(0)["label_maps"].dtype == np.float16
    loss = (record.record(0).label_maps.maps - looks[0].label_maps.maps).abs().amax((1, 2))
    assert bool((loss <= 1e-3 * looks[0].label_maps.maps.amax((1, 2))).all())


def test_probe_rows_are_flat_and_say_what_people_look_for(tmp_path, looks):
    rows = written(tmp_path / "r", *looks).probe_rows()
    assert len(rows) == 2 * 40
    look, row = looks[1], rows[40 + 7]
    assert (row["epoch"], row["step"], row["probe"], row["source_id"]) == (1, 100, 7, "picture 7.jpg")
    assert (row["class_name"], row["class_idx"]) == ("dog", 1)
    assert row["predicted_name"] == ("cat", "dog")[int(look.label_maps.predicted_class[7])]
    assert row["correct"] == bool(look.label_maps.correct[7])
    assert row["outside_mass"] == float(look.scores.outside_mass[7])
    assert row["chance_outside_mass"] == 1 - float(look.scores.area_fraction[7])
    assert row["validity"] == look.scores.validity[7].value == Validity.OK.value
    assert not any(isinstance(value, (dict, list)) for value in row.values())
    contrast, swap = look.contrasts[0], look.swaps[0]
    assert rows[40 + int(contrast.probes[3])]["difference"] == float(contrast.differences[3])
    assert rows[40 + int(swap.recipients[2])]["fall"] == float(swap.falls[2])


def test_probes_that_took_no_part_have_no_difference(tmp_path, looks):
    record = written(tmp_path / "r", replace(looks[0], contrasts=(), swaps=()))
    assert {(row["difference"], row["fall"]) for row in record.probe_rows()} == {(None, None)}


def test_verdict_rows_are_flat_with_scores_and_reasons(tmp_path, looks):
    rows = written(tmp_path / "r", *looks).verdict_rows()
    assert [(row["epoch"], row["class_idx"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    verdict, scores = looks[1].verdicts[1], looks[1].classes[1]
    assert rows[3]["level"] == verdict.level.value
    assert rows[3]["reason"] == verdict.reason
    assert rows[3]["swap_gap_peak"] == verdict.swap_gap.peak
    assert rows[3]["outside_mass"] == scores.outside_mass
    assert not any(isinstance(value, (dict, list)) for row in rows for value in row.values())


def test_pandas_takes_the_rows(tmp_path, looks):
    pandas = pytest.importorskip("pandas")
    record = written(tmp_path / "r", *looks)
    assert pandas.DataFrame(record.probe_rows()).groupby("epoch").size().tolist() == [40, 40]
    assert pandas.DataFrame(record.verdict_rows())["level"].notna().all()


def test_maps_of_predicted_classes_are_stored_where_they_differ_alone(tmp_path, looks):
    record = written(tmp_path / "r", looks[0])
    wrong = (~looks[0].label_maps.correct).nonzero().flatten().tolist()
    assert record.look(0)["differing"] == wrong
    assert record.look(0)["arrays"]["predicted_maps"]["shape"] == [len(wrong), 8, 8]
    assert np.array_equal(record.maps(0)["predicted_maps"], looks[0].predicted_maps.maps.numpy())


@pytest.mark.parametrize(("kind", "value"), [(int, True), (float, "1"), (str, 1), (tuple[int, ...], 3), (bool, 0)])
def test_a_value_of_another_kind_is_refused(kind, value):
    with pytest.raises(TypeError):
        from_plain(kind, value)


def test_an_epoch_that_is_not_there_is_one_clear_error(tmp_path, looks):
    record = written(tmp_path / "r", looks[0])
    for read in (record.look, record.maps, record.record):
        with pytest.raises(RecordError, match=r"holds no whole epoch 7$"):
            read(7)
