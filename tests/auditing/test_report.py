"""The report: what it says, what its files hold, and that it overwrites nothing by accident."""

import json

import pytest
import torch
from small_audit import Annotated, quick
from small_training import probes

from camdebug import ProbeSet, audit
from camdebug.records.audit import SCHEMA


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
    assert "At most 5 % of clean models get any alert" in text
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


def test_audit_is_a_name_of_the_package():
    import camdebug

    assert camdebug.audit is audit
