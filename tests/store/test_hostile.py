"""Records that somebody has made up: one clear error or a note; nothing runs, nothing outside the folder is read."""

import io
import json
import os
import pickle
import shutil
import tracemalloc
import zipfile

import numpy as np
import pytest
from looks import RAN, Runs, look_at, manifest, tree

from camdebug.store import RecordError, RecordWriter, load_record
from camdebug.store.strict import digest, seal


@pytest.fixture
def record(tmp_path):
    writer = RecordWriter.open(tmp_path / "record", manifest())
    for epoch in (0, 1):
        writer.write(look_at(epoch), step=epoch)
    writer.finish("completed")
    return writer.folder


def forge(epoch, *, maps=None, probes=None, **changes):
    """Write files of an epoch anew with digests that fit, as anybody can."""
    content = json.loads((epoch / "look.json").read_bytes())["content"]
    for name, data in (("maps.npz", maps), ("probes.jsonl", probes)):
        if data is not None:
            (epoch / name).write_bytes(data)
            content["files"][name] = {"bytes": len(data), "sha256": digest(data)}
    (epoch / "look.json").write_bytes(seal({**content, **changes}))


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(array, shape=None):
    """Bytes of an array whose header may claim another shape."""
    buffer = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(array.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape or array.shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


SMALL = {"label_maps": {"dtype": "float32", "shape": [4, 4]}}
ZEROS = np.zeros((4, 4), np.float32)
FORGED_MAPS = {
    "an array of objects": (npz(label_maps=np.array([Runs()], object)), SMALL),
    "an array of objects, announced": (
        npz(label_maps=np.array([Runs()], object)),
        {"label_maps": {"dtype": "object", "shape": [1]}},
    ),
    "a pickle": (pickle.dumps(Runs()), SMALL),
    "a pickle in the archive": (zipped(label_maps=pickle.dumps(Runs())), SMALL),
    "a header that runs": (
        zipped(label_maps=b"\x93NUMPY\x01\x00\x40\x00" + b"RAN.append(1)".ljust(63) + b"\n"),
        SMALL,
    ),
    "a header that claims 10 GB": (zipped(label_maps=npy(ZEROS, (50_000, 50_000))), SMALL),
    "10 GB announced": (
        zipped(label_maps=npy(ZEROS, (50_000, 50_000))),
        {"label_maps": {"dtype": "float32", "shape": [50_000, 50_000]}},
    ),
    "negative sides announced": (npz(label_maps=ZEROS), {"label_maps": {"dtype": "float32", "shape": [-4, -4]}}),
    "a number as shape": (npz(label_maps=ZEROS), {"label_maps": {"dtype": "float32", "shape": 16}}),
    "nothing announced": (npz(label_maps=ZEROS), None),
    "too few bytes": (zipped(label_maps=npy(ZEROS)[:-1]), SMALL),
    "too many bytes": (zipped(label_maps=npy(ZEROS) + b"x"), SMALL),
    "another dtype": (npz(label_maps=ZEROS.astype(np.float64)), SMALL),
    "fortran order": (npz(label_maps=np.asfortranarray(np.arange(16, dtype=np.float32).reshape(4, 4))), SMALL),
    "a name that leads elsewhere": (
        zipped(**{"../../escaped": npy(ZEROS)}),
        {"../../escaped": {"dtype": "float32", "shape": [4, 4]}},
    ),
    "maps that do not fit together": (npz(label_maps=ZEROS), SMALL),
    "an empty file": (b"", SMALL),
}


@pytest.mark.parametrize("kind", FORGED_MAPS)
def test_maps_that_are_not_plain_numbers_as_announced_are_one_error(record, kind):
    maps, arrays = FORGED_MAPS[kind]
    forge(record / "epochs/000001", maps=maps, arrays=arrays)
    before = tree(record.parent)
    loaded = load_record(record)
    for read in (loaded.maps, loaded.record):
        with pytest.raises(RecordError, match=r"epochs/000001: maps\.npz") as told:
            read(1)
        assert "\n" not in str(told.value)
    assert loaded.maps(0)["label_maps"].shape == (40, 8, 8)
    assert RAN == []
    assert tree(record.parent) == before


def test_numpy_itself_would_have_run_the_object():
    """What the test above guards against is real."""
    maps, _ = FORGED_MAPS["an array of objects"]
    with np.load(io.BytesIO(maps), allow_pickle=True) as archive:
        assert archive["label_maps"].shape == (1,)
    assert RAN.pop() == "run"


def test_a_zip_bomb_is_not_unpacked(record):
    bomb = zipped(label_maps=npy(np.zeros(0, np.float32), (4, 4)) + bytes(1 << 26))
    assert len(bomb) < 1 << 19
    forge(record / "epochs/000001", maps=bomb, arrays=SMALL)
    tracemalloc.start()
    with pytest.raises(RecordError, match="holds a larger array than announced"):
        load_record(record).maps(1)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["look.json", "probes.jsonl", "maps.npz"])
@pytest.mark.parametrize("to", ["a copy outside", "itself", "a device"])
def test_files_that_are_links_are_refused(record, tmp_path, name, to):
    file = record / "epochs/000001" / name
    outside = {"a copy outside": tmp_path / "outside", "itself": file, "a device": "/dev/zero"}[to]
    if to == "a copy outside":
        shutil.copy(file, outside)
    file.unlink()
    file.symlink_to(outside)
    loaded = load_record(record)
    assert loaded.epochs == (0,)
    assert f"epochs/000001: {name} cannot be read" in loaded.notes[0]


def test_folders_that_are_links_are_refused(record, tmp_path):
    shutil.move(record / "epochs/000001", tmp_path / "elsewhere")
    (record / "epochs/000001").symlink_to(tmp_path / "elsewhere")
    assert load_record(record).epochs == (0,)
    assert load_record(record).notes == ("epochs/000001: is not a folder",)
    shutil.move(record / "epochs", tmp_path / "epochs")
    (record / "epochs").symlink_to(tmp_path / "epochs")
    assert load_record(record).epochs == ()
    assert load_record(record).notes == ("epochs is not a folder",)


def test_a_manifest_that_is_a_link_is_refused(record, tmp_path):
    shutil.move(record / "manifest.json", tmp_path / "manifest.json")
    (record / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with pytest.raises(RecordError, match=r"manifest\.json cannot be read"):
        load_record(record)


@pytest.mark.parametrize("name", ["look.json", "manifest.json"])
def test_a_pipe_is_refused_and_not_waited_for(record, name):
    file = record / name if name == "manifest.json" else record / "epochs/000001" / name
    file.unlink()
    os.mkfifo(file)
    if name == "manifest.json":
        with pytest.raises(RecordError, match="is not a plain file"):
            load_record(record)
    else:
        assert "is not a plain file" in load_record(record).notes[0]


@pytest.mark.parametrize(
    "name", ["0", "1", "-00001", "0000001", "000001 ", "x", "..x", "٠٠٠٠٠٣", "9" * 40, "1e5", "\udcff"]
)
def test_names_that_no_epoch_has_are_noted_and_left_aside(record, name):
    try:
        shutil.copytree(record / "epochs/000001", record / "epochs" / name)
    except OSError:
        pytest.skip("no such name on this file system")
    loaded = load_record(record)
    assert loaded.epochs == (0, 1)
    assert len(loaded.notes) == 1
    assert loaded.notes[0].isascii()
    assert loaded.notes[0].endswith("is not an epoch")


def test_an_epoch_under_another_number_is_noticed(record):
    shutil.copytree(record / "epochs/000001", record / "epochs/000007")
    loaded = load_record(record)
    assert (loaded.epochs, loaded.notes) == ((0, 1), ("epochs/000007: look.json is of another epoch",))


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        DEEP, b'{"content":' + DEEP + b',"sha256":""}', b"NaN", b'{"content": 1e999, "sha256": ""}', b"", b"\xff\xfe",
        b"[]", b'{"content": {}, "sha256": 5}', b'{"content": ' + b"9" * 10_000 + b', "sha256": ""}',
        seal({}), seal([]), seal({"files": 3}), seal({"files": {"maps.npz": {}, "probes.jsonl": {}}}),
    ],
)  # fmt: skip
def test_a_look_that_is_no_look_is_noted(record, text):
    (record / "epochs/000001/look.json").write_bytes(text)
    loaded = load_record(record)
    assert loaded.epochs == (0,)
    assert loaded.notes[0].startswith("epochs/000001: look.json ")
    assert len(loaded.notes) == 1


CHANGES = {
    "a class": {"classes": [{"class_idx": "0"}]},
    "verdicts": {"verdicts": 3},
    "a level": {"verdict": {"level": "clean", "reason": "", "classes": []}},
    "huge numbers": {"contrasts": [{"classes": [0], "counts": [10**400]}]},
    "seconds": {"seconds": [1]},
    "columns": {"columns": {"class_idx": "load"}},
    "no columns": {"columns": None},
    "a column that is not there": {"columns": {"nothing": "int64"}},
    "maps": {"label_maps": {"method": 1, "layer": "x"}},
    "differing": {"differing": [10**30]},
    "differing beyond the probes": {"differing": [4000]},
    "an array that is not there": {"places": [{"excess_map": {"array": "../x"}}]},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_look_of_wrong_values_is_one_error_when_it_is_made_a_record_again(record, kind):
    forge(record / "epochs/000001", **CHANGES[kind])
    loaded = load_record(record)
    with pytest.raises(RecordError, match="epochs/000001: ") as told:
        loaded.record(1)
    assert len(str(told.value)) < 600
    assert loaded.record(0).epoch == 0


@pytest.mark.parametrize("probes", [DEEP, b"{}\n" * 40, b"[]", b'{"probe": {"a": 1}}', b'{"probe": NaN}', b""])
def test_probes_that_are_no_rows_are_one_error(record, probes):
    forge(record / "epochs/000001", probes=probes)
    with pytest.raises(RecordError, match="epochs/000001: "):
        load_record(record).record(1)


@pytest.mark.parametrize("look", [{"classes": 3}, {"classes": [{}]}, {"verdicts": [[]]}, {"verdicts": None}])
def test_verdict_rows_of_a_forged_look_are_one_error(record, look):
    forge(record / "epochs/000001", **look)
    with pytest.raises(RecordError, match=r"epochs/000001: look\.json does not hold a look"):
        load_record(record).verdict_rows()


def test_rows_with_forged_indices_have_no_names(record):
    forge(record / "epochs/000001", probes=b'{"probe": -1, "class_idx": 99, "predicted_class": "0"}\n')
    row = load_record(record).probe_rows()[-1]
    assert (row["source_id"], row["class_name"], row["predicted_name"]) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "has schema 2, this version of camdebug reads schema 1"),
        ({"schema": "1"}, "is not a manifest of camdebug"),
        ({"schema": 10**3000}, "has schema 1000"),
        ({"probes": "40"}, "is not a manifest of camdebug"),
        ({"class_names": [1]}, "is not a manifest of camdebug"),
        ({"alpha": 10**400}, "is not a manifest of camdebug"),
    ],
)
def test_a_manifest_of_another_kind_is_one_clear_error(record, change, words):
    path = record / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}), encoding="ascii")
    with pytest.raises(RecordError, match=words) as told:
        load_record(record)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("text", [DEEP, b"", b"[]", b"{}", b"\x80\x04K\x01.", b'{"schema": 1}'])
def test_a_manifest_that_is_none_is_one_clear_error(record, text):
    (record / "manifest.json").write_bytes(text)
    with pytest.raises(RecordError, match=r"manifest\.json (is|lacks)"):
        load_record(record)


@pytest.mark.parametrize("kind", ["absent", "a file", "empty", "a text with a null byte"])
def test_what_holds_no_record_is_one_clear_error(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "a file":
        path.write_text("", encoding="utf-8")
    elif kind == "empty":
        path.mkdir()
    with pytest.raises(RecordError, match=r"holds no record of camdebug"):
        load_record("\0" if "null" in kind else path)


def test_starts_and_ends_of_wrong_content_are_noted(record):
    (record / "starts").mkdir()
    (record / "starts/0002.json").write_bytes(DEEP)
    (record / "starts/x.json").write_bytes(b"{}")
    (record / "ends/0001.json").write_bytes(b'{"status": 3}')
    loaded = load_record(record)
    assert loaded.epochs == (0, 1)
    assert loaded.status is None
    assert [note.split(":")[0] for note in loaded.notes] == [
        "starts/'0002.json'",
        "starts/'x.json'",
        "ends/'0001.json'",
    ]


def test_files_beyond_any_size_are_not_read(record):
    with open(record / "epochs/000001/look.json", "r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no space
    assert "is larger than" in load_record(record).notes[0]
