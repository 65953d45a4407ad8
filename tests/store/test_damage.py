"""Text from anywhere comes back as it was; a byte that changes is noticed, or changes nothing."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looks import leaves, look_at, manifest, same

from camdebug.store import Manifest, RecordWriter, load_record
from camdebug.store.manifest import LEFT_OUT, without_secrets
from camdebug.store.plain import from_plain, to_plain
from camdebug.store.strict import from_json, seal, to_json, unseal

ANY = st.text(st.characters(exclude_categories=()), max_size=40)
NASTY = ("../../../etc/passwd", "a\0b", "\ud800", "x" * 10_000, "", "日本\n", "con", '"\\', "\u2028", "..", "/")


def as_read(text):
    """Two halves of one character, one after the other, are that character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(st.lists(ANY, max_size=6))
def test_any_text_survives(texts):
    texts = tuple(texts)
    given_ = manifest(class_names=texts, source_ids=texts, layer_reason="".join(texts))
    data = to_json(to_plain(given_))
    assert data.isascii()
    back = from_plain(Manifest, from_json(data))
    assert back.class_names == back.source_ids == tuple(map(as_read, texts))
    assert unseal(seal(list(texts))) == list(map(as_read, texts))


def test_texts_become_no_paths(tmp_path):
    options = {"class_names": NASTY, "class_slugs": NASTY, "source_ids": NASTY, "name": "../up", "run_id": "../../run"}
    writer = RecordWriter.open(tmp_path / "deep" / "er" / "record", manifest(**options))
    writer.write(look_at(0), step=0)
    writer.finish("../../status")
    record = load_record(writer.folder)
    assert (record.manifest.class_names, record.manifest.source_ids) == (NASTY, NASTY)
    assert record.status == "../../status"
    assert record.probe_rows()[3]["source_id"] == "x" * 10_000
    below = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert below == {
        f"deep/er/record/{name}"
        for name in ("manifest.json", "writer.lock", "ends/0001.json", *(f"epochs/000000/{f}" for f in FILES))
    }


FILES = ("look.json", "maps.npz", "probes.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    writer = RecordWriter.open(tmp_path_factory.mktemp("damage") / "record", manifest())
    writer.write(look_at(0), step=0)
    writer.write(look_at(1), step=0)
    return writer.folder


@settings(max_examples=150)
@given(
    name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), cut=st.booleans()
)
def test_a_byte_that_changes_or_is_cut_off_is_noticed_or_harmless(whole, name, place, change, cut):
    file = whole / "epochs/000001" / name
    good = file.read_bytes()
    at = int(place * len(good))
    bad = good[:at] if cut else good[:at] + bytes([good[at] ^ change]) + good[at + 1 :]
    file.write_bytes(bad)
    try:
        record = load_record(whole)
        if 1 in record.epochs:
            ours, theirs = dict(leaves(record.record(1))), dict(leaves(look_at(1)))
            assert all(same(ours[path], theirs[path]) for path in theirs)
        else:
            assert record.epochs == (0,)
            assert record.notes[0].startswith("epochs/000001: ")
    finally:
        file.write_bytes(good)


def test_a_digit_that_changes_in_a_look_is_noticed(whole, tmp_path):
    """The seal is needed: without it the number would be believed."""
    copy = shutil.copytree(whole, tmp_path / "copy")
    file = copy / "epochs/000001/look.json"
    text = file.read_bytes()
    assert b'"counts":[20,' in text or b'"probes":20' in text
    file.write_bytes(text.replace(b'"probes":20', b'"probes":21', 1))
    record = load_record(copy)
    assert (record.epochs, record.notes) == ((0,), ("epochs/000001: look.json has changed since it was written",))


def test_an_epoch_that_is_damaged_after_loading_is_noticed_when_it_is_read(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    record = load_record(copy)
    (copy / "epochs/000001/probes.jsonl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"epochs/000001: probes\.jsonl is not as it was written$"):
        record.probe_rows()
    assert record.look(0)["epoch"] == 0


SECRETS = {
    ("--token", "abc"): ("--token", LEFT_OUT),
    ("--api-key=abc",): (f"--api-key={LEFT_OUT}",),
    ("--wandb-token", "-abc"): ("--wandb-token", LEFT_OUT),
    ("wandb.api_key=abc", "lr=0.1"): (f"wandb.api_key={LEFT_OUT}", "lr=0.1"),
    ("WANDB_API_KEY=abc",): (f"WANDB_API_KEY={LEFT_OUT}",),
    ("APIKey=abc", "apikey=abc", "token2=abc"): (f"APIKey={LEFT_OUT}", f"apikey={LEFT_OUT}", f"token2={LEFT_OUT}"),
    ("--password", "a b c", "--lr", "1"): ("--password", LEFT_OUT, "--lr", "1"),
    ("--run", "x.py --password abc --lr 3"): ("--run", f"x.py --password {LEFT_OUT}"),
    ("--db", "postgres://me:abc@host/x"): ("--db", f"postgres://{LEFT_OUT}@host/x"),
    ("https://host/x?token=abc&lr=3",): (f"https://host/x?token={LEFT_OUT}",),
    ('{"lr": 3, "apiKey": "abc"}',): (f'{{"lr": 3, "apiKey": {LEFT_OUT}',),
    ("cfg['db']['dbpassword']=abc",): (f"cfg['db']['dbpassword']={LEFT_OUT}",),
    ("--accessToken", "abc"): ("--accessToken", LEFT_OUT),
    ("--secrets", "abc", "def"): ("--secrets", LEFT_OUT, "def"),
    ("+logger.auth.pwd=abc",): (f"+logger.auth.pwd={LEFT_OUT}",),
    ("-password", "abc"): ("-password", LEFT_OUT),
    ("db.password: abc",): (f"db.password: {LEFT_OUT}",),
    ("db.password:", "abc", "def"): ("db.password:", LEFT_OUT, "def"),
    ("--header", "Authorization: Bearer abc"): ("--header", f"Authorization: {LEFT_OUT}"),
    ("-H", "Authorization:", "Bearer", "abc"): ("-H", "Authorization:", LEFT_OUT, LEFT_OUT),
    ("--header=Bearer abc",): (f"--header=Bearer {LEFT_OUT}",),
}
HARMLESS = [
    ("--keypoints", "17", "--tokenizer", "bert", "--author", "me"),
    ("--max_tokens", "512", "--num-keys=3", "tokens: 5"),
    ("token_dim=3", "key_points=17", "--keyPoints", "17", "model.token.dim=3", "password_file=x"),
    ("monkey=3", "--turkey", "bird", "classes=[monkey,turkey]"),
    ("--use-key", "--epochs", "3"),
    ("--api_key=", "--note", "the key", "3"),
    ("train.py", "--lr=0.1", "3", "a key point", "https://host/x"),
]


@pytest.mark.parametrize("command", SECRETS)
def test_values_of_what_looks_like_a_secret_are_left_out(command):
    assert without_secrets(command) == SECRETS[command]
    assert without_secrets(SECRETS[command]) == SECRETS[command]


@pytest.mark.parametrize("command", HARMLESS)
def test_what_only_has_such_a_word_in_it_is_kept(command):
    assert without_secrets(command) == command


@pytest.mark.parametrize("word", ["key.", "key ", "--key", "key", "key:", '"', " ", "x://", "a", "-"])
def test_a_long_argument_is_cut_whatever_it_holds(word):
    """In a time that grows as its length: of this one, a time that grows as the square would be hours."""
    cut = without_secrets([word * 500_000, "--token", "abc", "3"])
    assert len(cut[0]) <= 2048
    assert cut[0].startswith(word)
    assert cut[0].endswith(("...", LEFT_OUT))
    assert cut[1:] == ("--token", LEFT_OUT, "3")
    assert without_secrets(cut) == cut


def test_a_secret_is_left_out_wherever_an_argument_is_cut():
    for length in range(2000, 2100):
        found = without_secrets(["x" * length + " --token=abcdefgh", "y" * length + "://me:abcdefgh@host"])
        assert not any("abc" in part for part in found)
    assert without_secrets(["x" * 3000 + " --token", "abc"])[1] == LEFT_OUT


def test_a_manifest_never_holds_a_secret(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--token", "abc"])
    assert manifest().command == ("train.py", "--token", LEFT_OUT)
    assert manifest(command=("--token=abc",)).command == (f"--token={LEFT_OUT}",)


def test_a_manifest_says_what_ran():
    import platform

    import torch

    import camdebug

    found = manifest()
    assert (found.camdebug, found.python) == (camdebug.__version__, platform.python_version())
    assert torch.__version__.startswith(found.torch)
    assert "lightning 2." in found.lightning
    assert found.created.endswith("+00:00")
