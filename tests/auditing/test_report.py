"""The report: what it says, what its files hold, and that it overwrites nothing by accident."""

import json

import pytest
import torch
from small_audit import Annotated, ReadOnce, quick
from small_training import probes

from camdebug import ProbeSet, audit
from camdebug.auditing.report import SCHEMA
from camdebug.store import disk


@pytest.fixture(scope="module")
def heat():
    return quick()


class OneSize(Annotated):
    """120 pictures, two of which cannot be used."""

    def __init__(self):
        super().__init__(120)

    def __getitem__(self, i):
        return self.images[i], super().__getitem__(i)[1]


@pytest.fixture(scope="module")
def looked():
    """With a look, on a net that has learned nothing."""
    return quick(dataset=OneSize(), per_class=21, batch_size=16)


def test_words_come_in_their_order(looked):
    text = str(looked)
    parts = [
        "camdebug audit: ",
        "How sure: ",
        "Heat of 118 of 120 pictures",
        "Why:",
        "densest heat",
        "Left out: 2 of 120",
    ]
    parts.append(
        "What this does not tell you. An audit is one look: it can say watch and confirmed; suspect takes two."
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.startswith("camdebug audit: nothing to judge yet.\nHow sure: one look at 84 probes")
    assert "clean models that get any alert, over all classes, is meant to be at most 5 %." in text
    assert "`kind 0`: not learned yet." in text
    assert "no longer once one tunes on the alarms." in text
    assert "*" not in text
    assert "None" not in text


def test_every_mass_stands_beside_its_chance_level(heat):
    lines = str(heat).splitlines()
    row = next(line for line in lines if line.strip().startswith("kind 0"))
    scores = heat.classes[0]
    assert f"{100 * scores.outside_mass:.0f} % ({100 * scores.chance_outside_mass:.0f} %)" in row
    assert row.split()[2:4] == [str(scores.probes), str(scores.valid)]
    assert any(line.strip().startswith("class") and "heat outside (uniform)" in line for line in lines)


def test_without_a_look_it_says_that_nothing_was_swapped(heat):
    assert "No background was swapped (per_class=0)" in str(heat)
    assert heat.look is None
    assert "verdict" not in str(heat)
    assert "Why:" not in str(heat)


def test_the_file_holds_what_was_found(looked, tmp_path):
    looked.save(tmp_path / "new folder" / "audit.json", pictures=True)
    found = json.loads((tmp_path / "new folder" / "audit.json").read_text())
    assert found == looked.to_dict()
    assert found["schema"] == SCHEMA
    assert set(found["versions"]) == {"camdebug", "torch", "pytorch_lightning"}
    assert (found["method"], found["layer"], found["grid"]) == ("hirescam", "norm2", [8, 8])
    assert found["pictures"]["in_dataset"] == 120
    assert found["pictures"]["measured"] == 118
    assert sorted(i for ids in found["pictures"]["left_out"].values() for i in ids) == ["11", "3"]
    assert found["classes"][2]["outside_mass"] == looked.classes[2].outside_mass
    assert found["classes"][2]["worst"][0]["source_id"] == looked.worst[2][0].source_id
    assert [c["level"] for c in found["look"]["classes"]] == ["not learned yet"] * 4
    assert found["look"]["probes"] == [21] * 4
    assert sorted(p.name for p in (tmp_path / "new folder").iterdir()) == ["audit.json", "audit.pictures.jsonl"]


def own_maps(model, images, class_idx):
    return images.abs().mean(1)[:, ::2]


@pytest.mark.parametrize(
    ("method", "where", "grid"),
    [
        ("hirescam", "hirescam of the label on norm2 (last spatial stage, ", (8, 8)),
        ("fullgrad", "fullgrad of the label at the picture's size (16x16).", (16, 16)),
        (own_maps, "own_maps of the label with maps of 8x16 cells.", (8, 16)),
    ],
)
def test_a_method_with_a_grid_of_its_own_is_not_said_to_read_the_layer(method, where, grid):
    report = quick(method=method)
    assert report.grid == grid
    assert report.to_dict()["grid"] == list(grid)
    assert f"pictures: {where}" in str(report)
    own = f"; not read by {report.method}, whose maps have {grid[0]}x{grid[1]} cells"
    assert report.layer_reason.endswith(own) == (method != "hirescam")


def test_where_background_evidence_is_measured_is_said_when_the_maps_do_not_tell(looked):
    clause = "background evidence is HiResCAM's at norm2"
    assert clause not in str(looked)
    assert clause not in str(quick(method="fullgrad"))  # without a look none is measured
    report = quick(method="gradcam", dataset=Annotated(count=120), per_class=21)
    assert f"); {clause}.\n" in str(report)


def test_rows_of_pictures_stand_beside_it(heat, tmp_path):
    heat.save(tmp_path / "audit.json", pictures=True)
    rows = [json.loads(line) for line in (tmp_path / "audit.pictures.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(heat.pictures.source_ids)
    first = next(i for i, row in enumerate(rows) if row["validity"] == "ok")
    assert rows[first]["outside_mass"] == float(heat.pictures.scores.outside_mass[first])
    assert rows[first]["label"] == int(heat.pictures.labels[first])


def test_a_file_with_other_content_is_not_overwritten_unless_asked(heat, tmp_path):
    path = tmp_path / "audit.json"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"audit.json exists and holds something else.*overwrite=True"):
        heat.save(path, pictures=True)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["audit.json"]
    heat.save(path, overwrite=True)
    heat.save(path)  # the same again, as every process of a distributed audit does
    assert json.loads(path.read_text())["schema"] == SCHEMA


def test_a_save_that_fails_leaves_no_half_file(heat, tmp_path, monkeypatch):
    def broken(*args):
        raise OSError("disk full")

    for name in ("link", "replace"):
        monkeypatch.setattr(f"os.{name}", broken)
    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        heat.save(tmp_path / "audit.json")
    assert list(tmp_path.iterdir()) == []


def test_probes_are_those_that_from_dataset_would_draw(looked):
    with pytest.warns(UserWarning, match="ProbeSet left out"):
        drawn = ProbeSet.from_dataset(OneSize(), per_class=21, seed=0)
    assert looked.look.fingerprint == drawn.fingerprint


def test_probes_of_the_users_own_are_taken_as_they_are():
    given = probes(per_class=20)
    report = quick(per_class=60, probes=given, batch_size=40)
    assert report.look.fingerprint == given.fingerprint
    assert len(report.pictures) == 37


def test_scores_that_look_like_probabilities_are_said_to_be():
    class Soft(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

        def forward(self, x):
            return self.net(x).softmax(1)

    report = quick(Soft(), dataset=probes(per_class=20), per_class=20)
    assert "look like probabilities" in str(report)


def test_a_probe_that_cannot_be_read_a_second_time_is_left_out_and_named():
    report = quick(dataset=ReadOnce(), per_class=30, batch_size=16)
    reason = "measured, but left out of the probes when it was read again (could not be read (OSError))"
    assert report.left_out[reason] == ("30",)
    assert "30" in report.pictures.source_ids
    assert report.look.probes == (29, 30, 29, 28)  # 20, of class 0, is of another size
    assert f"1 x {reason} (30)" in str(report)


def test_no_picture_that_can_be_read_again_says_what_to_do():
    class Gone(ReadOnce):
        def __getitem__(self, i):
            in_order = i in (0, self.before + 1)
            found = super().__getitem__(i)
            if not in_order:
                raise OSError("lost")
            return found

    with pytest.raises(ValueError, match=r"^dataset: no picture could be read again as a probe: .*per_class=0 asks"):
        quick(dataset=Gone(40, fails=False), per_class=1, batch_size=16)


def test_the_share_that_is_right_stands_beside_what_its_predictions_would_get_by_chance(heat):
    predicted = heat.pictures.predicted.tolist()
    shares = [predicted.count(k) / len(predicted) for k in range(4)]
    assert heat.chance_recalls == pytest.approx(shares)
    assert [c["chance_recall"] for c in heat.to_dict()["classes"]] == pytest.approx(shares)
    lines = [line.strip() for line in str(heat).splitlines()]
    for scores, share in zip(heat.classes, shares, strict=True):
        row = next(line for line in lines if line.startswith(f"{scores.name} "))
        assert f"  {100 * scores.recall:.0f} % ({100 * share:.0f} %)  " in row
    row = next(line for line in lines if line.startswith("all classes"))
    assert "(25 %)  " in row
    assert "Right: the share of all predictions that name the class" in str(heat)


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("audit.json", "audit.pictures.jsonl"),
        ("audit.v1", "audit.v1.pictures.jsonl"),
        ("audit.v2.json", "audit.v2.pictures.jsonl"),
        ("audit", "audit.pictures.jsonl"),
    ],
)
def test_the_file_of_pictures_keeps_all_of_the_name_but_json(heat, tmp_path, name, beside):
    heat.save(tmp_path / name, pictures=True)
    assert {p.name for p in tmp_path.iterdir()} == {name, beside}


def test_a_file_that_another_process_wrote_meanwhile_is_not_overwritten(heat, tmp_path, monkeypatch):
    write, path = disk._write_new, tmp_path / "audit.json"

    def late(draft, data, limited):
        write(draft, data, limited)
        path.write_text("precious")

    monkeypatch.setattr(disk, "_write_new", late)
    with pytest.raises(FileExistsError, match=r"audit.json exists and holds something else.*overwrite=True"):
        heat.save(path)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["audit.json"]


@pytest.mark.parametrize("there", [False, True])
def test_a_file_system_without_links_is_no_reason_to_overwrite(heat, tmp_path, monkeypatch, there):
    def none(*args):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", none)
    path = tmp_path / "audit.json"
    if there:
        path.write_text("precious")
        with pytest.raises(FileExistsError):
            disk.write_file(path, b"other", replace=False)
        assert path.read_text() == "precious"
    else:
        heat.save(path)
        assert json.loads(path.read_text())["schema"] == SCHEMA
    assert [p.name for p in tmp_path.iterdir()] == ["audit.json"]


def test_the_rows_of_a_large_dataset_may_take_more_than_a_record_holds(heat, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "MOST_BYTES", 10)
    with pytest.raises(OSError, match="would be larger than 10 bytes"):
        disk.write_file(tmp_path / "record.json", bytes(11))
    heat.save(tmp_path / "audit.json", pictures=True)
    assert (tmp_path / "audit.pictures.jsonl").stat().st_size > 10


def test_audit_is_a_name_of_the_package():
    import camdebug

    assert camdebug.audit is audit
