"""``camdebug probes``: from annotated files to a saved set, seen and described; a wrong input is one line, status 2."""

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from camdebug import ProbeSet
from camdebug.cli import main
from camdebug.cli.probe_sets import attention_in
from camdebug.geometry.steps import CenterCrop, Normalize, Resize
from camdebug.sources import FORMATS, VocFolder

OBJECT = """<object><name>{}</name><difficult>0</difficult>
<bndbox><xmin>16</xmin><ymin>12</ymin><xmax>40</xmax><ymax>36</ymax></bndbox></object>"""
PAGE = "<annotation><filename>{0}.png</filename><size><width>64</width><height>48</height></size>{1}</annotation>"
CROP = ["--resize", "24", "--crop", "24"]
CASES = """
import torch
from torchvision.transforms import v2

ready = v2.Compose([v2.Resize(24), v2.CenterCrop(24), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
number = 3

def made():
    return ready

def failing():
    raise OSError("no such disk\\nsecond line")

class Strange:
    def __len__(self):
        raise KeyError("length")

    def __getitem__(self, index):
        raise KeyError(index)

strange = Strange()
"""


def picture(number):
    blocks = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks.repeat(8, 0).repeat(8, 1))


def write_voc(root, kinds):
    """One picture for each kind, with an object of it at 16, 12 to 40, 36."""
    for name in ("Annotations", "JPEGImages"):
        (root / name).mkdir(parents=True)
    for number, kind in enumerate(kinds):
        picture(number).save(root / "JPEGImages" / f"{number:03d}.png")
        (root / "Annotations" / f"{number:03d}.xml").write_text(
            PAGE.format(f"{number:03d}", OBJECT.format(kind)), encoding="utf-8"
        )
    return root


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Twenty cats, twenty "pes" and a cow."""
    return write_voc(tmp_path_factory.mktemp("data") / "voc", ["cat", "pes"] * 20 + ["cow"])


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Two of each."""
    return write_voc(tmp_path_factory.mktemp("data") / "few", ["cat", "pes"] * 2 + ["cow"])


@pytest.fixture(scope="module")
def once(voc, tmp_path_factory):
    """A set that was built of all of them, and what was said."""
    place = tmp_path_factory.mktemp("once")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.chdir(place)
        assert build(voc, "--mean", "0.5,.25,.5", "--std", ".5,1,.25", "--per-class", 20, "--seed", 3) == 0
    return place / "set", said.getvalue()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current directory, with a module of the user's own."""
    (tmp_path / "probe_cases.py").write_text(CASES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("probe_cases", "probe_training"):
        sys.modules.pop(name, None)


NAMED = ["--classes", "cat,dog", "--map", "pes=dog", "--ignore-others"]


def build(voc, *arguments, transform=CROP, named=NAMED):
    return main(["probes", "build", str(voc), "--output", "set", *transform, *named, *map(str, arguments)])


@pytest.fixture
def built(once, here):
    """The same set in the current directory."""
    return shutil.copytree(once[0], here / "set")


class TestBuild:
    def test_the_set_is_the_one_that_python_builds_and_boxes_are_where_they_belong(self, voc, once):
        folder, said = once
        found = ProbeSet.load(folder)
        statistics = [0.5, 0.25, 0.5], [0.5, 1.0, 0.25]
        names = {"class_names": ["cat", "dog"], "label_map": {"pes": "dog"}, "others": "ignore"}
        steps = [Resize(24), CenterCrop(24), Normalize(*statistics)]
        same = ProbeSet.from_source(VocFolder(voc), geometry=steps, per_class=20, seed=3, **names)
        assert found.fingerprint == same.fingerprint
        assert (found.source_ids, found.mean, found.std) == (same.source_ids, *map(tuple, statistics))
        # Half the size; the crop takes four columns on either side.
        assert [boxes.tolist() for boxes in found.boxes] == [[[4.0, 6.0, 16.0, 18.0]]] * 40
        assert said.startswith("camdebug probes: 2 of 2 classes can be judged; 40 probes of 40 pictures, 24x24 pixels")
        assert said.endswith("\nSaved in set, with preview.png and summary.txt.\n")
        assert (folder / "summary.txt").read_text(encoding="utf-8") == said.partition("\nSaved in")[0]
        with Image.open(folder / "preview.png") as sheet:
            assert sheet.format == "PNG"
            assert sheet.size == found.preview().size

    def test_a_letterbox_is_the_other_way_to_a_square(self, few, here):
        assert build(few, transform=["--letterbox", "32"]) == 1
        # Half the size, and bars of four rows above and below.
        assert ProbeSet.load("set").boxes[0].tolist() == [[8.0, 10.0, 20.0, 22.0]]

    @pytest.mark.parametrize("name", ["ready", "made"])
    def test_a_transform_of_the_users_own_or_a_function_that_makes_it(self, few, here, name):
        assert build(few, transform=["--transform", f"probe_cases:{name}", "--mean", "0,0,0", "--std", "1,1,1"]) == 1
        found = ProbeSet.load("set")
        assert found.boxes[0].tolist() == [[4.0, 6.0, 16.0, 18.0]]
        assert (found.mean, found.std) == ((0.0,) * 3, (1.0,) * 3)
        assert "CenterCrop" in found.provenance.transform

    def test_classes_come_from_a_file_too_one_in_a_line(self, few, here):
        (here / "classes.txt").write_text("dog\n\ncat, tame\n", encoding="utf-8")
        named = ["--classes-file", "classes.txt", "--map", "pes=dog", "--map", "cat=cat, tame", "--ignore-others"]
        assert build(few, named=named) == 1
        assert ProbeSet.load("set").class_names == ("dog", "cat, tame")

    def test_too_few_probes_and_a_picture_left_out_need_attention_and_are_said(self, few, here, capsys):
        assert build(few, named=["--classes", "cat,cow,pes"]) == 1
        out, error = capsys.readouterr()
        assert "Needs attention: 3 of 3 classes cannot be judged (missing: usable probes, of which suspect and " in out
        assert "take 20 a class: `cat` 18, `cow` 19, `pes` 18)." in out
        assert error.startswith("camdebug probes build: note: ProbeSet")
        assert len(ProbeSet.load("set")) == 5

    @pytest.mark.parametrize("train", ["folder", "probe_training:pictures"])
    def test_probes_that_are_trained_on_need_attention(self, few, here, capsys, train):
        write_voc(here / "folder", ["cat"])
        shown = f"from PIL import Image\npictures = [Image.open({str(few / 'JPEGImages' / '000.png')!r})]"
        (here / "probe_training.py").write_text(shown)
        assert build(few, "--train", train, transform=[*CROP]) == 1
        out = capsys.readouterr().out
        assert "1 of 4 probes is trained on (JPEGImages/000.png: " in out
        assert out.endswith("; probes are trained on.\n")

    def test_near_duplicates_are_named(self, few, here, capsys):
        own = write_voc(here / "own", ["cat", "pes"] * 2)
        picture(0).resize((64, 48)).save(own / "JPEGImages" / "003.png")
        assert build(own) == 1
        out = capsys.readouterr().out
        assert "  JPEGImages/000.png and JPEGImages/003.png (1.000)" in out or (
            "  JPEGImages/003.png and JPEGImages/000.png (1.000)" in out
        )
        assert out.endswith("; 1 pair of probes shows nearly the same picture.\n")

    def test_pictures_may_lie_elsewhere_and_options_reach_the_reader(self, few, here):
        (here / "own").mkdir()
        (here / "own" / "labels").symlink_to(few / "Annotations")
        options = ["--images", few / "JPEGImages", "--option", "annotations=labels", "--option", "one_based=true"]
        assert build(here / "own", "--format", "voc", *options) == 1
        assert ProbeSet.load("set").boxes[0].tolist() == [[3.5, 5.5, 16.0, 18.0]]

    def test_tables_and_folders_without_boxes_serve_too(self, few, here):
        rows = [f"{few / 'JPEGImages'}/{n:03d}.png,{'ab'[n % 2]},16,12,24,24" for n in range(4)]
        (here / "table.csv").write_text("\n".join(["file,kind,x,y,w,h", *(r.replace(f"{few}/", "") for r in rows)]))
        options = ["--option", "picture=file", "--option", "label=kind", "--option", 'box=["x","y","w","h"]']
        options += ["--option", "box_format=xywh", "--images", few]
        assert build("table.csv", *options, named=["--classes", "a,b"]) == 1
        assert ProbeSet.load("set").boxes[0].tolist() == [[4.0, 6.0, 16.0, 18.0]]
        for n in range(4):
            (here / "plain" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
            picture(n).save(here / "plain" / "ab"[n % 2] / f"{n}.png")
        assert build("plain", "--overwrite", named=["--classes", "a,b"]) == 1
        assert not ProbeSet.load("set").annotated


class TestSaved:
    def test_preview_writes_a_sheet(self, built, capsys):
        assert main(["probes", "preview", "set", "-o", "one.png", "--per-class", "1"]) == 0
        assert capsys.readouterr().out == "one.png written\n"
        with Image.open("one.png") as sheet:
            assert sheet.size == ProbeSet.load("set").preview(per_class=1).size

    def test_summary_is_for_people_or_programs(self, built, voc, capsys):
        assert main(["probes", "summary", "set", "--epochs", "30"]) == 0
        assert capsys.readouterr().out.startswith("camdebug probes: 2 of 2 classes can be judged; 40 probes")
        assert main(["probes", "summary", "set", "--json", "--train", str(voc)]) == 1
        found = json.loads(capsys.readouterr().out)
        assert [c["usable"] for c in found["classes"]] == [20, 20]
        assert found["fingerprint"] == ProbeSet.load("set").fingerprint
        assert len(found["leaks"]["exact"]) == 40
        assert found["leaks"]["compared"] == 41

    def test_boxes_that_seem_to_be_wrong_need_attention(self, built):
        found = ProbeSet.load("set").summary()
        assert attention_in(found, None) == []
        assert attention_in(replace(found, suspicions=("x and y are swapped",)), None) == ["boxes seem to be wrong"]

    def test_an_older_set_gives_way_only_when_told_to(self, built, few, capsys):
        before = ProbeSet.load("set").fingerprint
        assert build(few) == 2
        assert capsys.readouterr().err == (
            f"camdebug probes build: {built} holds a probe set already; pass --overwrite to replace it\n"
        )
        assert ProbeSet.load("set").fingerprint == before
        assert build(few, "--overwrite") == 1
        assert len(ProbeSet.load("set")) == 4


WRONG = {
    "a folder that is not there": (["nowhere"], "SOURCE: expected a file or folder of annotations"),
    "an unknown format": (["VOC", "--format", "vocc"], "--format: expected one of 'voc'"),
    "an unknown option": (["VOC", "--option", "onebased=1"], "onebased: Pascal VOC"),
    "an option without a value": (["VOC", "--option", "onebased"], "argument --option: expected two names with ="),
    "a split that is not there": (["VOC", "--split", "val"], "split: "),
    "no classes": (["VOC"], "--classes: expected the model's classes"),
    "an unknown class": (["VOC", "--classes", "cat,pess,cow"], "(near: pess"),
    "a name for two classes": (["VOC", "--map", "pes=cat", "--map", "pes=dog"], "--map: expected one class for 'pes'"),
    "a file of classes that is not there": (["VOC", "--classes-file", "no.txt"], "--classes-file: cannot read no.txt"),
    "a file of classes that is none": (["VOC", "--classes-file", "bytes"], "(it is not in UTF-8)"),
    "an empty class": (["VOC", "--classes", "cat,,dog"], "argument --classes: expected names with commas"),
    "a size that is none": (["VOC", "--resize", "large"], "argument --resize: expected pixels, as in 224"),
    "letterbox and crop": (["VOC", "--letterbox", "24"], "--letterbox: expected it alone"),
    "a transform and steps": (["VOC", "--transform", "probe_cases:ready"], "--transform: expected it alone"),
    "a mean alone": (["VOC", "--mean", "0,0,0"], "--mean, --std: expected both or neither"),
    "a std of 0": (["VOC", *NAMED, "--mean", "0,0,0", "--std", "0,1,1"], "stds above 0"),
    "no numbers": (["VOC", "--mean", "a,b"], "argument --mean: expected numbers with commas"),
    "areas in the wrong order": (["VOC", *NAMED, "--min-area", ".8"], "--min-area, --max-area: expected shares"),
    "no probes": (["VOC", "--per-class", "0"], "argument --per-class: expected a whole number, 1 or more, got '0'"),
    "training data that is not there": (["VOC", *NAMED, "--train", "nowhere"], "--train: expected annotations"),
    "training data that cannot be made": (["VOC", *NAMED, "--train", "probe_cases:failing"], "(OSError: no such disk)"),
    "training data of no kind": (["VOC", *NAMED, "--train", "probe_cases:number"], "--train: "),
    "training data that fails in its own way": (
        ["VOC", *NAMED, "--train", "probe_cases:strange"],
        "KeyError: 'length'",
    ),
    "an output that is a file": (["VOC", "--output", "bytes"], "which is a file"),
    "an output with other files": (["VOC", "--output", "."], "which holds something else"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_one_line_and_status_2_and_nothing_is_written(few, here, capsys, case):
    (here / "bytes").write_bytes(b"\xff\xfe\x00")
    before = sorted(path.name for path in here.iterdir())
    arguments, words = WRONG[case]
    arguments = [str(few) if argument == "VOC" else argument for argument in arguments]
    try:
        status = main(["probes", "build", "--output", "set", *CROP, *arguments])
    except SystemExit as ended:  # of the parser
        status = ended.code
    out, error = capsys.readouterr()
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("camdebug probes build: ")
    assert words in error
    assert sorted(path.name for path in here.iterdir() if path.name != "__pycache__") == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["summary", "nowhere"], "expected a probe set as ProbeSet.save writes it"),
        (["preview", "nowhere"], "expected a probe set as ProbeSet.save writes it"),
        (["preview", "set", "-o", "sheet.doc"], ".png"),
        (["preview", "set", "-o", "no/folder/sheet.png"], "--output: there is no folder"),
        (["summary", "set", "--train", "nowhere"], "nowhere"),
        (["summary", "damaged"], "is damaged"),
    ],
)
def test_what_cannot_be_seen_is_one_line_and_status_2(built, capsys, arguments, words):
    ProbeSet(torch.zeros(1, 3, 8, 8), [0]).save("damaged")
    next(built.parent.glob("damaged/pictures*")).write_bytes(b"")
    assert main(["probes", *arguments]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith(f"camdebug probes {arguments[0]}: ")
    assert words in error


@pytest.mark.parametrize(
    ("error", "status", "said"), [(KeyboardInterrupt, 130, "camdebug: interrupted\n"), (BrokenPipeError, 141, "")]
)
def test_who_interrupts_or_stops_reading_sees_no_traceback(built, monkeypatch, capsys, error, status, said):
    from camdebug.cli import probe_sets

    def failing(text):
        raise error

    monkeypatch.setattr(probe_sets, "say", failing)
    assert main(["probes", "summary", "set"]) == status
    assert capsys.readouterr().err == said


def test_without_a_part_help_is_shown_and_every_part_has_some(capsys):
    assert main(["probes"]) == 0
    assert "build" in capsys.readouterr().out
    for part in ("build", "preview", "summary"):
        with pytest.raises(SystemExit) as ended:
            main(["probes", part, "--help"])
        assert ended.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert ("The exit status is 0; 1 when the set is there but needs attention" in text) == (part != "preview")
        assert all(name in text for name in FORMATS) == (part == "build")


def test_the_command_itself_needs_no_lightning_and_writes_to_any_terminal(here):
    own = write_voc(here / "données", ["mačka"])
    code = (
        "import sys; from camdebug.cli import main; status = main(sys.argv[1:]); "
        "print([m for m in ('pytorch_lightning', 'lightning', 'wandb', 'tensorboard') if m in sys.modules]); "
        "sys.exit(status)"
    )
    arguments = ["probes", "build", str(own), "--output", "été", "--classes", "mačka", *CROP]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "take 20 a class: `ma\\u010dka` 19)." in done.stdout
    assert done.stdout.endswith("\n[]\n")
    assert ProbeSet.load("été").class_names == ("mačka",)
