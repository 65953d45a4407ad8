"""Read back an offline W&B run: its log is LevelDB-framed protobuf."""

import json
import struct
from pathlib import Path

BLOCK = 32768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(run_dir):
    """All records of the single run below ``run_dir``, in the order of writing."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = Path(run_dir).rglob("run-*.wandb")
    found = []
    for payload in _payloads(path.read_bytes()):
        record = Record()
        record.ParseFromString(payload)
        found.append(record)
    return found


def history(run_dir):
    """One dict for each logged row."""
    rows = []
    for record in records(run_dir):
        if record.WhichOneof("record_type") == "history":
            rows.append(_nested(record.history.item))
    return rows


def config(run_dir):
    """Final config, from the run record and its updates."""
    values = {}
    for record in records(run_dir):
        kind = record.WhichOneof("record_type")
        source = record.run.config if kind == "run" else record.config if kind == "config" else None
        values |= _nested(source.update) if source is not None else {}
    return values


def alerts(run_dir):
    return [r.alert for r in records(run_dir) if r.WhichOneof("record_type") == "alert"]


def _nested(items):
    values = {}
    for item in items:
        *parents, key = [item.key] if item.key else item.nested_key
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[key] = json.loads(item.value_json)
    return values


def _payloads(data):
    assert data[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        if kind == 0:
            position += left
            continue
        chunk = data[position + 7 : position + 7 + length]
        position += 7 + length
        parts = [chunk] if kind in (FULL, FIRST) else [*parts, chunk]
        if kind in (FULL, LAST):
            yield b"".join(parts)
