"""The record of a run on disk. Knows no trainer.

``writer`` writes it · ``reader`` reads it · ``claim`` says whose folder it is · ``disk`` writes whole or not at all ·
``epoch`` turns a look into files · ``plain`` turns dataclasses into JSON · ``strict`` and ``arrays`` trust no file ·
``layout`` names things.

Schema 1. All text is ASCII JSON; what is not finite is ``null``; names of files hold numbers, never anybody's text::

    manifest.json                the fields of Manifest, as of the first start; never changed
    starts/0002.json             the same for the second start of the run, the first resumption, and so on
    ends/0001.json               how the first start ended: status, time, losses. Absent when it trains or was killed
    epochs/000003/look.json      {"sha256": ..., "content": {...}}: the fields of EpochRecord, the logger's step, and
                                 size and SHA-256 of the other two files. The first digest is that of the content as
                                 JSON with sorted keys, without spaces
    epochs/000003/probes.jsonl   one flat object for each probe: the fields of label_maps and scores that have a value
                                 a probe, and correct, chance_outside_mass, difference (of background evidence, in
                                 logits) and fall (of probability in the swap); null where not measured
    epochs/000003/maps.npz       label_maps (N, h, w); predicted_maps of the probes listed in "differing" of look.json,
                                 where these are not the same; and arrays named after their place in look.json, such as
                                 contrasts.0.cue_map. float16 or float32, as listed in "arrays" of look.json
    superseded/0001/000004       an epoch that came after the checkpoint from which the run was resumed
    writer.lock                  locked while a process writes
    .*.draft                     being written, or left by a process that was killed; ignored, and removed on resuming

An epoch is renamed into place when all its files are on the disk: it is there whole, or not at all. Vectors are lists
in ``look.json``, in their order; the index of a probe is its place in the probe set, ``source_ids`` in the manifest.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     load_record(folder)  # doctest: +ELLIPSIS
Traceback (most recent call last):
camdebug.store.strict.RecordError: ... holds no record of camdebug: manifest.json cannot be read (No such file or ...)
"""

from camdebug.store.manifest import Manifest, new_run_id
from camdebug.store.reader import RunRecord, load_record
from camdebug.store.strict import RecordError
from camdebug.store.writer import End, RecordWriter

__all__ = ["End", "Manifest", "RecordError", "RecordWriter", "RunRecord", "load_record", "new_run_id"]
