"""A saved set is the set, bit for bit, or there is one error: whatever was cut off, changed or interrupted."""

import copy
import errno
import io
import json
import os
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camdebug import ProbeSet
from camdebug.probe import saved, saving
from camdebug.probe.content import Content, Offered, check
from camdebug.records import ClassDraw, Exclusion, Origin, Provenance
from camdebug.store import disk
from camdebug.store.strict import digest, to_json

BOXES = [[[1.0, 2.0, 6.1, 7.0]], [[0.1 + 0.2, 0.0, 3.0, 4.0], [2.0, 2.0, 9.0, 5.5]], [[0.0, 0.0, 10.0, 8.0]]]
NAMES = ["cat", "猫 🐈\u200d⬛", "a\nb\x00`\u202e\udcff"]
KINDS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]


def pictures(dtype=torch.float32, count=3):
    found = torch.randn(count, 3, 8, 10, generator=torch.Generator().manual_seed(0)).to(dtype)
    found[0, 0, 0, :2] = torch.tensor([-0.0, torch.finfo(dtype).tiny]).to(dtype)
    return found


def told():
    """Where the pictures come from: every field has a value of its own."""
    return Provenance(
        source="Pascal VOC, 3 pictures",
        transform="Compose(\n    Resize(256)\n)",
        seed=7,
        random=True,
        versions={"torchvision": "1.2", "Ⅻ": ""},
        origins=tuple(Origin(f"ü/{k}.jpg", (480 + k, 640), [None, 0.1, 1.0][k], f"{k:064x}") for k in range(3)),
        thumbnails=torch.arange(3 * 32 * 32).reshape(3, 32, 32).to(torch.uint8),
        classes=(ClassDraw("cat", 9, 8, 7, 6, 5, 4, 3),),
    )


def boxed(dtype=torch.float32, **changes):
    offered = Offered(
        pictures(dtype),
        [0, 2, 1],
        BOXES,
        class_names=NAMES,
        ignore=[[], [[0, 4, 10, 8]], []],
        mean=[0.1, 0.2, 0.3],
        std=[1.0, 1e-3, 2.0],
        source_ids=["a/ä.jpg", "\udcff", ""],
        left_out=[Exclusion("b.jpg", "truncated")],
        provenance=told(),
    )
    return ProbeSet._of(check(replace(offered, **changes)))


def masked():
    masks = torch.zeros(3, 8, 10, dtype=torch.bool)
    masks[0, 2, 3:7] = masks[1, :, 9] = masks[2, 7, 0] = True
    return boxed(boxes=None, masks=masks, ignore_masks=masks.flip(0))


def equal(one, other):
    """Whether two sets are the same in all that they hold."""
    return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(Content)) and (
        one.fingerprint == other.fingerprint
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        bits = [t.contiguous().view(-1).view(torch.uint8) if t.numel() else t for t in (a, b)]
        return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(*bits)
    if isinstance(a, Provenance):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(Provenance))
    if isinstance(a, tuple):
        return type(b) is tuple and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def refusal(folder):
    with pytest.raises(ValueError) as caught:
        ProbeSet.load(folder)
    assert str(caught.value).startswith("folder: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "probes"


@pytest.fixture
def saved_set(folder):
    masked().save(folder)
    return folder


def files_in(folder, kind=""):
    return sorted(name for name in os.listdir(folder) if name.startswith(kind))


class TestTheSame:
    @pytest.mark.parametrize("dtype", KINDS, ids=str)
    def test_all_that_a_set_holds_comes_back_bit_for_bit(self, folder, dtype):
        probes = boxed(dtype)
        probes.save(folder)
        found = ProbeSet.load(folder)
        assert equal(probes, found)
        assert type(found) is ProbeSet
        assert found.images.dtype is dtype
        assert found.provenance.origins[0].area is None

    def test_the_comparison_of_these_tests_sees_every_field(self):
        probes = masked()
        for name, value in {
            "images": probes.images.clone().fill_(1),
            "masks": ~probes.masks,
            "mean": (0.1, 0.2, 0.4),
            "source_ids": ("a", "b", "c"),
            "dropped_boxes": (Exclusion("x", "y"),),
            "provenance": replace(told(), thumbnails=told().thumbnails + 1),
        }.items():
            other = copy.copy(probes)
            vars(other)[name] = value
            assert not equal(probes, other), name

    def test_masks_and_regions_to_ignore_too(self, folder):
        probes = masked()
        probes.save(folder)
        assert equal(probes, ProbeSet.load(folder))

    def test_a_bare_set_without_boxes_names_and_provenance(self, folder):
        probes = ProbeSet(pictures(), [0, 1, 1])
        probes.save(str(folder))
        found = ProbeSet.load(str(folder))
        assert equal(probes, found)
        assert (found.annotated, found.provenance, found.mean) == (False, None, None)

    def test_what_is_loaded_can_be_saved_and_gives_the_same_files(self, folder, tmp_path):
        masked().save(folder)
        ProbeSet.load(folder).save(tmp_path / "again")
        contents = [{p.name: p.read_bytes() for p in place.iterdir()} for place in (folder, tmp_path / "again")]
        assert contents[0] == contents[1]

    def test_large_sets_are_spread_over_files(self, folder, monkeypatch):
        monkeypatch.setattr(saving, "_SHARD", 2 * 3 * 80 * 4 + 100)
        probes = masked()
        probes.save(folder)
        assert [name[:13] for name in files_in(folder, "pictures")] == ["pictures-0000", "pictures-0001"]
        assert equal(probes, ProbeSet.load(folder))

    def test_files_open_with_numpy_and_json_alone(self, folder):
        probes = masked()
        probes.save(folder)
        told_of = json.loads((folder / "probes.json").read_text())["content"]
        assert told_of["set"]["class_names"] == NAMES
        assert told_of["set"]["exclusions"] == [{"source_id": "b.jpg", "reason": "truncated"}]
        assert told_of["set"]["provenance"]["transform"] == "Compose(\n    Resize(256)\n)"
        assert told_of["saved_with"]["torch"] == torch.__version__
        assert "camdebug.ProbeSet.load(folder)" in told_of["about"]
        with np.load(folder / told_of["pictures"][0], allow_pickle=False) as file:
            assert np.array_equal(file["pictures"], probes.images.numpy())
            assert np.array_equal(np.unpackbits(file["masks"], axis=-1, count=10), probes.masks.numpy())
        with np.load(folder / told_of["annotations"], allow_pickle=False) as file:
            assert file["labels"].tolist() == [0, 2, 1]
            assert file["boxes"].tolist() == [[3, 2, 7, 3], [9, 0, 10, 8], [0, 7, 1, 8]]

    def test_bfloat16_is_stored_as_its_bits(self, folder):
        probes = boxed(torch.bfloat16)
        probes.save(folder)
        with np.load(folder / files_in(folder, "pictures")[0]) as file:
            upper = probes.images.float().numpy().view(np.uint32) >> 16
            assert np.array_equal(file["pictures"].view(np.uint16), upper)

    @pytest.mark.parametrize(("depth", "method"), [(8, zipfile.ZIP_DEFLATED), (24, zipfile.ZIP_STORED)])
    def test_pictures_are_compressed_only_where_that_pays(self, folder, depth, method):
        values = torch.randint(2**depth, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)) / 2**depth
        ProbeSet(values, [0, 0]).save(folder)
        with zipfile.ZipFile(folder / files_in(folder, "pictures")[0]) as archive:
            assert archive.infolist()[0].compress_type == method
        assert torch.equal(ProbeSet.load(folder).images, values)

    def test_lightning_cli_can_name_it(self, saved_set, monkeypatch):
        from jsonargparse import ArgumentParser

        monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--probes", type=ProbeSet)
        named = {"class_path": "camdebug.ProbeSet.load", "init_args": {"folder": str(saved_set)}}
        found = parser.instantiate_classes(parser.parse_object({"probes": named})).probes
        assert equal(found, masked())


class TestThePlace:
    def test_folders_above_are_made_and_an_empty_one_is_taken(self, tmp_path):
        for place in (tmp_path / "a" / "b", tmp_path / "empty"):
            (tmp_path / "empty").mkdir(exist_ok=True)
            boxed().save(place)
            assert equal(ProbeSet.load(place), boxed())

    def test_an_older_set_gives_way_only_when_told_to(self, saved_set):
        with pytest.raises(FileExistsError, match=r"^folder: .*holds a probe set already; pass overwrite=True"):
            boxed().save(saved_set)
        assert equal(ProbeSet.load(saved_set), masked())
        (saved_set / "preview.png").write_bytes(b"a picture")
        boxed().save(saved_set, overwrite=True)
        assert equal(ProbeSet.load(saved_set), boxed())
        assert [len(files_in(saved_set, kind)) for kind in ("pictures", "annotations", "")] == [1, 1, 4]
        assert (saved_set / "preview.png").read_bytes() == b"a picture"

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_what_is_not_ours_is_never_touched(self, tmp_path, overwrite):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "probes.json").write_text("{}")
        (tmp_path / "file").write_text("mine")
        boxed().save(tmp_path / "set")
        (tmp_path / "link").symlink_to(tmp_path / "set")
        for name, words in {"mine": "holds something else", "file": "a file", "link": "a link"}.items():
            with pytest.raises(FileExistsError, match=rf"^folder: .*{words}"):
                masked().save(tmp_path / name, overwrite=overwrite)
        assert (tmp_path / "mine" / "probes.json").read_text() == "{}"
        assert (tmp_path / "file").read_text() == "mine"
        assert equal(ProbeSet.load(tmp_path / "set"), boxed())

    @pytest.mark.parametrize("call", [boxed().save, ProbeSet.load])
    def test_a_path_that_is_none_is_refused(self, call):
        for value, error in ((3, TypeError), (None, TypeError), ("", ValueError), ("a\0b", ValueError)):
            with pytest.raises(error, match=r"^folder: expected the path of a folder, got "):
                call(value)

    def test_sets_that_are_too_large_are_refused_with_what_to_do(self, folder, monkeypatch):
        monkeypatch.setattr(saving, "MOST_BYTES", 3 * 960 - 1)
        with pytest.raises(ValueError, match=r"^folder: 3 pictures take 0.0 GB, .*draw fewer probes"):
            boxed().save(folder)
        monkeypatch.setattr(saving, "MOST_BYTES", 3 * 960)
        boxed().save(folder)
        monkeypatch.setattr(disk, "MOST_BYTES", saving._SAMPLE + 959)
        with pytest.raises(ValueError, match=r"^folder: a picture of 3x8x10 takes 0 MB, .*smaller pictures"):
            boxed().save(folder, overwrite=True)


STEPS = ("mkdir", "open", "write", "fsync", "rename", "replace", "unlink", "rmdir")


class Interrupted(BaseException):
    """Not an ``Exception``, as a KeyboardInterrupt is not."""


def failing(monkeypatch, number, *, kill):
    """The ``number``-th touch of the disk fails; after a kill nothing touches it any more. Gives the count so far."""
    count = [0]

    def wrapped(name, original):
        def call(*args, **options):
            count[0] += 1
            if count[0] == number or (kill and count[0] > number):
                raise Interrupted if kill else OSError(errno.ENOSPC, "No space left on device")
            return original(*args, **options)

        monkeypatch.setattr(disk.os, name, call)

    for name in STEPS:
        wrapped(name, getattr(os, name))
    return count


def interrupted(probes, folder, number, *, kill, overwrite=False):
    """Save, and fail at a step; whether it came so far."""
    with pytest.MonkeyPatch.context() as patch:
        count = failing(patch, number, kill=kill)
        try:
            probes.save(folder, overwrite=overwrite)
        except (OSError, Interrupted):
            return True
    return count[0] >= number


@pytest.mark.parametrize("kill", [False, True])
def test_a_new_set_is_there_whole_or_not_at_all_wherever_saving_fails(tmp_path, kill):
    number, kept = 1, 0
    while interrupted(boxed(), tmp_path / f"{number}", number, kill=kill):
        place = tmp_path / f"{number}"
        if place.exists():
            kept += 1
            assert equal(ProbeSet.load(place), boxed())
        elif not kill:
            assert files_in(tmp_path, f".{number}.") == []
        number += 1
    assert number > 12
    # A failed wait for the folder above, after the renaming; and to make that folder, which is there, can fail as well.
    assert kept == (2 if kill else 3)


@pytest.mark.parametrize("kill", [False, True])
def test_an_older_set_stays_whole_until_the_new_one_is_complete(tmp_path, kill):
    number, found = 1, []
    while True:
        place = tmp_path / f"{number}"
        boxed().save(place)
        (place / "notes.txt").write_text("mine")
        if not interrupted(masked(), place, number, kill=kill, overwrite=True):
            break
        now = ProbeSet.load(place)
        found.append(now.masks is not None)
        assert equal(now, masked() if found[-1] else boxed())
        if not kill:
            # Old files that could not be removed are left; of a new set that did not come to be nothing is.
            assert len(files_in(place)) in ((4, 5, 6) if found[-1] else (4,))
        for path in place.iterdir():
            os.utime(path, (0, 0))  # long ago
        masked().save(place, overwrite=True)  # and what is left does not stand in the way
        assert equal(ProbeSet.load(place), masked())
        assert (place / "notes.txt").read_text() == "mine"
        assert len([name for name in files_in(place) if not name.startswith(".")]) == 4
        number += 1
    assert found == sorted(found)  # from some step on it is the new one
    assert set(found) == {False, True}


def test_what_another_process_is_still_writing_is_left_to_it(tmp_path):
    place = tmp_path / "set"
    boxed().save(place)
    old = files_in(place, "pictures")
    masked().save(tmp_path / "other")
    others = [name for name in files_in(tmp_path / "other") if name.endswith(".npz")]
    for name in others:  # its manifest is not there yet
        (place / name).write_bytes((tmp_path / "other" / name).read_bytes())
    boxed(torch.float64).save(place, overwrite=True)
    assert set(others) <= set(files_in(place))
    assert not set(files_in(place)) & set(old)
    (place / "probes.json").write_bytes((tmp_path / "other" / "probes.json").read_bytes())
    assert equal(ProbeSet.load(place), masked())


def test_a_file_that_another_process_removes_while_a_set_is_saved_is_written_again(tmp_path, monkeypatch):
    place, write, removed = tmp_path / "set", disk.write_file, []
    boxed().save(place)

    def removing(path, data, **options):
        write(path, data, **options)
        if path.name == "probes.json" and not removed:
            removed.append(files_in(path.parent, "pictures")[0])
            (path.parent / removed[0]).unlink()

    boxed().save(place, overwrite=True)
    monkeypatch.setattr(disk, "write_file", removing)
    boxed().save(place, overwrite=True)
    assert removed
    assert equal(ProbeSet.load(place), boxed())


def test_a_set_that_is_replaced_while_it_is_read_is_read_anew(tmp_path, monkeypatch):
    place, read, replaced = tmp_path / "set", disk.read_file, []
    boxed().save(place)

    def replacing(path):
        if path.suffix == ".npz" and not replaced:
            replaced.append(path)
            masked().save(place, overwrite=True)
        return read(path)

    monkeypatch.setattr(disk, "read_file", replacing)
    assert equal(ProbeSet.load(place), masked())
    assert not replaced[0].exists()


# Damage


def resealed(folder, content):
    """Write a manifest as somebody would who knows how they are sealed."""
    text = json.dumps({"content": content, "sha256": digest(to_json(content))})
    (folder / "probes.json").write_text(text)


def content_of(folder):
    return json.loads((folder / "probes.json").read_text())["content"]


def put_file(folder, content, name, data, arrays):
    """Put other bytes in place of a file, with all that the manifest says of them."""
    content["files"][name] = {"bytes": len(data), "sha256": digest(data), "arrays": arrays}
    (folder / name).write_bytes(data)
    resealed(folder, content)


class TestDamage:
    def test_a_folder_without_a_set_is_told(self, tmp_path):
        (tmp_path / "file").write_text("")
        for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
            assert refusal(place).startswith(f"folder: expected a probe set as ProbeSet.save writes it, got {place}, ")

    @pytest.mark.parametrize("kind", ["probes", "annotations", "pictures"])
    def test_a_file_that_is_missing_cut_off_or_a_link_is_named(self, saved_set, tmp_path, kind):
        (name,) = files_in(saved_set, kind)
        whole = (saved_set / name).read_bytes()
        (saved_set / name).write_bytes(whole[:-7])
        assert name in refusal(saved_set)
        (saved_set / name).unlink()
        assert f"{name} cannot be read (No such file or directory)" in refusal(saved_set)
        (tmp_path / "elsewhere").write_bytes(whole)
        (saved_set / name).symlink_to(tmp_path / "elsewhere")
        assert f"{name} cannot be read (Too many levels of symbolic links)" in refusal(saved_set)
        (saved_set / name).unlink()
        os.mkfifo(saved_set / name)
        assert f"{name} cannot be read (is not a plain file)" in refusal(saved_set)

    def test_the_message_says_which_set_and_what_to_do(self, saved_set):
        (name,) = files_in(saved_set, "pictures")
        (saved_set / name).write_bytes(b"")
        assert refusal(saved_set) == (
            f"folder: the probe set in {saved_set} is damaged: {name} is not as it was written. Copy it again, or "
            "build it anew"
        )

    def test_a_newer_format_is_refused_with_what_to_do(self, saved_set):
        resealed(saved_set, {**content_of(saved_set), "version": 2})
        assert "is in format 2, and this camdebug reads format 1; update camdebug" in refusal(saved_set)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"fingerprint": "0" * 64}, "not the one it was saved with"),
            ({"shape": [3, 3, 1 << 20, 1 << 20]}, "announces more than 4294967296 bytes of pictures"),
            ({"shape": [3, 3, -8, 10]}, "tells no size of pictures"),
            ({"shape": [4, 3, 8, 10]}, "boxes are not counted by picture"),
            ({"shape": [3, 3, 10, 8]}, "holds an array of another kind or shape than announced"),
            ({"dtype": "float64"}, "holds a"),
            ({"dtype": "object"}, "does not fit its files"),
            ({"annotations": "../probes.json"}, "names a file that is none of its own"),
            ({"pictures": ["/etc/passwd"]}, "does not fit its files"),
            ({"pictures": []}, "does not fit its files"),
            ({"files": {}}, "does not fit its files"),
            ({"format": "something"}, "is not of a probe set"),
        ],
    )
    def test_a_manifest_that_does_not_fit_is_refused_even_when_sealed(self, saved_set, change, words):
        resealed(saved_set, content_of(saved_set) | change)
        assert words in refusal(saved_set)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"class_names": ["a"]}, "a label is of no class"),
            ({"class_names": ["a", "a", "b"]}, "expected different names"),
            ({"source_ids": ["a"]}, "no id for each picture"),
            ({"mean": None}, "expected both or neither"),
            ({"std": [1.0, 0.0, 1.0]}, "expected values above 0"),
            ({"annotated": False}, "it has masks, and is said to have none"),
            ({"annotated": 1}, "expected bool, got int"),
            ({"exclusions": {"a": "b"}}, "expected a list, got dict"),
        ],
    )
    def test_what_could_not_have_been_built_is_refused_even_when_sealed(self, saved_set, change, words):
        content = content_of(saved_set)
        content["set"] |= change
        resealed(saved_set, content)
        assert words in refusal(saved_set)

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("labels", np.array([0, 2, 3]), "a label is of no class"),
            ("labels", np.array([0, 2]), "no label for each picture"),
            ("boxes", np.array([[3, 2, 7, 3], [9, 0, 11, 8], [0, 7, 1, 8]], float), "a box is not in its picture"),
            ("boxes", np.array([[3, 2, 7, 3], [9, 0, np.nan, 8], [0, 7, 1, 8]]), "a box is not in its picture"),
            ("boxes", np.array([[3, 2, 7, 4], [9, 0, 10, 8], [0, 7, 1, 8]], float), "not the one around its mask"),
            ("box_counts", np.array([2, 2, -1]), "not counted by picture"),
            ("box_counts", np.array([1, 1, 2]), "not as many as their counts"),
            ("box_counts", np.array([0, 2, 1]), "none where there are"),
            ("provenance.thumbnails", np.zeros((2, 32, 32), np.uint8), "where it comes from"),
            ("provenance.thumbnails", np.zeros((3, 32, 32)), "thumbnails are no pictures"),
        ],
    )
    def test_numbers_that_could_not_have_been_built_are_refused_even_when_sealed(self, saved_set, name, value, words):
        content = content_of(saved_set)
        with np.load(saved_set / content["annotations"]) as file:
            arrays = dict(file) | {name: value}
        about = {key: {"dtype": str(a.dtype), "shape": list(a.shape)} for key, a in arrays.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        put_file(saved_set, content, content["annotations"], buffer.getvalue(), about)
        assert words in refusal(saved_set)

    def test_pictures_that_are_not_finite_are_refused_even_when_sealed(self, saved_set):
        content = content_of(saved_set)
        (name,) = content["pictures"]
        with np.load(saved_set / name) as file:
            arrays = dict(file)
        arrays["pictures"][1, 1, 1, 1] = np.nan
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        put_file(saved_set, content, name, buffer.getvalue(), content["files"][name]["arrays"])
        assert "a picture is not finite" in refusal(saved_set)

    def test_a_pickle_among_the_arrays_is_never_opened(self, saved_set):
        ran = []

        class Trap:
            def __reduce__(self):
                return ran.append, (1,)

        content = content_of(saved_set)
        buffer = io.BytesIO()
        np.savez(buffer, pictures=np.array([Trap()], dtype=object), allow_pickle=True)
        ran.clear()
        put_file(saved_set, content, content["pictures"][0], buffer.getvalue(), {"pictures": {"shape": [1]}})
        assert "is damaged" in refusal(saved_set)
        assert ran == []

    def test_a_zip_bomb_is_not_unpacked(self, saved_set):
        content = content_of(saved_set)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, pictures=np.zeros(1 << 26, np.uint8), masks=np.zeros(1), ignore_masks=np.zeros(1))
        (name,) = content["pictures"]
        put_file(saved_set, content, name, buffer.getvalue(), content["files"][name]["arrays"])
        assert "holds a larger array than announced" in refusal(saved_set)


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    """A saved set and the bytes of its files."""
    place = tmp_path_factory.mktemp("fuzzed") / "probes"
    masked().save(place)
    return place, {path.name: path.read_bytes() for path in place.iterdir()}


def loaded(place):
    """The set, or what is said instead. Anything but a ``ValueError`` is a failure."""
    try:
        return ProbeSet.load(place), ""
    except ValueError as error:
        return None, str(error)


@settings(max_examples=80)
@given(data=st.data())
def test_whatever_byte_changes_it_is_the_same_set_or_one_error(two_files, data):
    place, whole = two_files
    name = data.draw(st.sampled_from(sorted(whole)))
    where = data.draw(st.integers(0, len(whole[name]) - 1))
    flipped = bytearray(whole[name])
    flipped[where] ^= data.draw(st.integers(1, 255))
    kept = data.draw(st.sampled_from([flipped, flipped[:where], whole[name] + b"\0"]))
    (place / name).write_bytes(kept)
    found, said = loaded(place)
    (place / name).write_bytes(whole[name])
    assert said.startswith("folder: ") if found is None else equal(found, masked())


def places_in(value, path=()):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in pairs for found in [(*path, key), *places_in(inner, (*path, key))]]


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, 1, -1, 2**31, 2**63, 10**400, 0.5, -0.5, 1e308, "", "x", "probes.json", "../x", "\udcff", "float64"]
    ),
    st.sampled_from([[], {}, [[]], [0, 0, 0], {"array": "labels"}, {"array": "x"}, [None] * 3, ["a", "b", "c"]]),
    st.recursive(st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=4),
)


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_a_sealed_manifest_says_it_is_a_set_of_the_same_content_or_one_error(two_files, data):
    place, whole = two_files
    content = content_of(place)
    *path, key = data.draw(st.sampled_from(places_in(content)))
    target = content
    for step in path:
        target = target[step]
    if data.draw(st.booleans()):
        target[key] = data.draw(STRANGE)
    else:
        del target[key]
    resealed(place, content)
    found, said = loaded(place)
    (place / "probes.json").write_bytes(whole["probes.json"])
    if found is None:
        assert said.startswith("folder: ")
    else:
        assert found.fingerprint == masked().fingerprint
        assert repr(found) == "ProbeSet(3 pictures of 3x8x10, 3 classes, 3 masks)"
        found.save(place.parent / "again", overwrite=True)
        assert equal(ProbeSet.load(place.parent / "again"), found)


def test_names_of_files_lead_nowhere_else():
    assert saved.is_ours("pictures-0000-0123456789abcdef.npz")
    for name in (
        "../pictures-0000-0123456789abcdef.npz",
        "pictures-0000-0123456789abcdef.npz\n",
        "probes.json",
        3,
        None,
    ):
        assert not saved.is_ours(name)
