"""``camdebug probes build``: lists as a shell writes them, crops, what is left out, and what is said of it."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from camdebug import ProbeSet
from camdebug.cli import main
from camdebug.cli.parsing import option
from camdebug.cli.probe_sets import attention_in
from camdebug.cli.words import in_options
from camdebug.geometry.steps import Resize
from camdebug.sources import CsvTable, ObjectCrops


def picture(number, size=(48, 64)):
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size[::-1], Image.Resampling.NEAREST)


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Two cats and two dogs in a table, 24 pixels wide and high at 16, 12; in each picture a small bird as well."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    rows = ["file,kind,x0,y0,x1,y1"]
    for number in range(4):
        picture(number).save(tmp_path / "pictures" / f"{number}.png")
        rows += [f"{number}.png,{('cat', 'dog')[number % 2]},16,12,40,36", f"{number}.png,bird,50,2,54,6"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    return tmp_path


COLUMNS = ["--option", "picture=file", "--option", "label=kind", "--option", "box=x0,y0,x1,y1"]
CATS = ["--classes", "cat,dog", "--ignore-others"]


def build(*arguments, named=CATS, images=("--images", "pictures")):
    return main(["probes", "build", "table.csv", *images, *COLUMNS, *named, "--output", "set", *map(str, arguments)])


def ended(*arguments, **more):
    """Status of a command that the parser may end."""
    try:
        return build(*arguments, **more)
    except SystemExit as end:
        return end.code


class TestOptions:
    def test_a_list_has_commas_and_values_have_names_after_a_colon(self):
        assert option("box=a, b,c,d") == ("box", ["a", "b", "c", "d"])
        assert option('box=["a,b","c"]') == ("box", ["a,b", "c"])
        assert option("box=rle") == ("box", "rle")
        assert option("label=a,b") == ("label", "a,b")
        assert option("values=1:grey wolf, 2 : dog") == ("values", {1: "grey wolf", 2: "dog"})
        assert option("ignore=254,255") == ("ignore", [254, 255])

    def test_columns_reach_the_table(self, table):
        assert build("--resize", "24") == 1
        assert ProbeSet.load("set").boxes[0].tolist() == [[8.0, 6.0, 20.0, 18.0]]

    def test_values_without_names_are_refused_with_an_example(self, table, capsys):
        assert ended("--option", "values=circle") == 2
        assert "as in values=1:circle,2:square, got 'circle'" in capsys.readouterr().err

    def test_help_shows_both(self, capsys):
        with pytest.raises(SystemExit):
            main(["probes", "build", "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert "box=left,top,right,bottom" in text
        assert "values=1:circle,2:square" in text
        assert """values='{"1": "circle"}'""" in text


class TestCrops:
    def test_objects_are_cut_out_as_python_does(self, table):
        assert build("--object-crops", "--context", "1.5", "--most", "1", "--resize", "18x18") == 1
        source = CsvTable("table.csv", "pictures", picture="file", label="kind", box=["x0", "y0", "x1", "y1"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same = ProbeSet.from_source(
                ObjectCrops(source, context=1.5, most=1),
                geometry=[Resize((18, 18))],
                class_names=["cat", "dog"],
                others="ignore",
            )
        found = ProbeSet.load("set")
        assert found.fingerprint == same.fingerprint
        assert found.boxes[0].tolist() == [[3.0, 3.0, 15.0, 15.0]]  # 24 of 36 pixels, of which 18 are left

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--side", "30"], "--side: expected --object-crops, which it belongs to"),
            (["--object-crops", "--side", "30", "--context", "2"], "--context, --side: expected one of them, got both"),
            (["--object-crops", "--context", "0.5"], "--context: expected 1 or more sides of the box, got 0.5"),
            (["--drop-leaks"], "--drop-leaks: expected --train"),
            (
                ["--transform", "../own.py:made"],
                "--transform: expected package.module:name, not a path, got '../own.py",
            ),
            (
                ["--transform", "own.py:made"],
                "--transform: expected package.module:name, not a path, got 'own.py:made'",
            ),
            (["--transform", ".own:made"], "--transform: expected package.module:name, not a path, got '.own:made'"),
        ],
    )
    def test_what_does_not_go_together_is_one_line(self, table, capsys, arguments, words):
        assert ended(*arguments) == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        assert words in error


class TestNotes:
    def test_a_crop_beyond_the_resized_picture_is_said(self, table, capsys):
        build("--resize", "24", "--crop", "30")  # 32 wide, 24 high
        assert "note: --crop is larger than 4 of 4 pictures after --resize; black is" in capsys.readouterr().err
        build("--resize", "24", "--crop", "24x32", "--overwrite")
        assert "black" not in capsys.readouterr().err

    def test_missing_pictures_may_lie_elsewhere(self, table, capsys):
        (table / "pictures" / "3.png").unlink()
        (table / "pictures" / "2.png").rename(table / "2.png")
        assert build("--resize", "24", images=()) == 1
        assert "note: 3 pictures missing; pass --images DIR if the pictures lie elsewhere" in capsys.readouterr().err
        (table / "2.png").unlink()
        assert build("--resize", "24", "--overwrite", images=()) == 2
        assert capsys.readouterr().err.endswith("; pass --images DIR if the pictures lie elsewhere\n")
        assert build("--resize", "24", "--overwrite") == 1
        assert "--images" not in capsys.readouterr().err

    def test_a_class_that_cannot_be_judged_needs_attention_for_want_of_donors_too(self, table, capsys):
        for number in range(4, 24):
            picture(number).save(table / "pictures" / f"{number}.png")
            with (table / "table.csv").open("a") as rows:
                rows.write(f"\n{number}.png,cat,16,12,40,36")
        assert build("--resize", "24") == 1
        out = " ".join(capsys.readouterr().out.split())
        why = (
            "usable probes, of which suspect and confirmed take 20 a class: `dog` 18; usable pictures of other classes "
            "that do not show it, to lend 20 backgrounds: `cat` 18"
        )
        assert f"missing {why} places" in out
        assert f"Needs attention: 2 of 2 classes cannot be judged (missing: {why})." in out

    def test_a_cue_needs_attention(self, table):
        build("--resize", "24")
        found = ProbeSet.load("set").summary()
        assert found.cues == ()
        assert len(attention_in(found, None)) == 1
        told = attention_in(replace(found, cues=("all probes of `cat` were 8x8 pixels",)), None)
        assert told[1] == "files may pass for a class, by folder, size or kind"


class TestLeftOut:
    def test_of_probes_that_are_alike_the_first_stays(self, table, capsys):
        picture(0).save(table / "pictures" / "3.png")
        assert build("--resize", "24x24", "--drop-duplicates") == 1
        out, error = capsys.readouterr()
        found = ProbeSet.load("set")
        assert len(found) == 3
        (gone,) = found.exclusions
        assert gone.reason == "nearly the same picture as another probe"
        assert f"note: left 1 probe out: nearly the same picture as another probe ({gone.source_id}); no " in error
        assert "left out  1 picture: 1 x nearly the same picture as another probe" in out
        assert "Nearly the same picture, with" not in out

    def test_probes_that_are_trained_on(self, table, capsys):
        (table / "train" / "cat").mkdir(parents=True)
        picture(2).save(table / "train" / "cat" / "a.png")
        assert build("--resize", "24", "--train", "train") == 1
        assert "; probes are trained on." in capsys.readouterr().out
        assert build("--resize", "24", "--train", "train", "--drop-leaks", "--overwrite") == 1
        out, error = capsys.readouterr()
        assert ProbeSet.load("set").source_ids == ("0.png", "1.png", "3.png")
        assert "note: left 1 probe out: trained on (2.png)" in error
        assert "probes are trained on" not in out

    def test_advice_names_what_a_shell_has(self):
        text = (
            "Leave one out, with probes.without(j for _, j, _ in probes.near_duplicates()): so. Take them out with "
            "probes.without(leaks.found). For ObjectCrops, take a larger side= or context=; crops "
            '(camdebug.sources.ObjectCrops). Look at probes.preview("probes.png").'
        )
        assert in_options(text) == (
            "Leave one out, with build --drop-duplicates: so. Take them out with build --drop-leaks. For "
            "--object-crops, take a larger --side or --context; crops (--object-crops). Look at preview.png."
        )
        steps = "box, or pass it as image_transform= with geometry=[...], such as [Resize(256)] of camdebug.geometry"
        assert in_options(steps) == "box, or --resize and --crop, or --letterbox"


def test_a_preview_replaces_only_that_of_the_set(table, capsys):
    build("--resize", "24")
    (table / "probes.png").write_bytes(b"another")
    (table / "set" / "preview.png").unlink()
    capsys.readouterr()
    assert main(["probes", "preview", "set"]) == 0
    assert capsys.readouterr().out == "set/preview.png written\n"
    assert (table / "probes.png").read_bytes() == b"another"
    assert (table / "set" / "preview.png").read_bytes()[:4] == b"\x89PNG"


def test_a_folder_in_place_of_a_coco_file_names_the_source(table, capsys):
    (table / "empty").mkdir()
    assert main(["probes", "build", "empty", "--format", "coco", "--output", "set", *CATS]) == 2
    assert capsys.readouterr().err.startswith("camdebug probes build: SOURCE: ")
