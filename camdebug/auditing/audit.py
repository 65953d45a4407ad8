"""``audit``: where does a trained model look in a dataset, and which class leans on its background?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from camdebug.auditing.batches import Batches, OfDataset, OfProbes, first_usable
from camdebug.auditing.engine import check_strategy, go_through, package_of
from camdebug.auditing.report import AuditedPictures, AuditReport, BackgroundLook, Worst
from camdebug.auditing.words import report_words
from camdebug.auditing.work import Found, Plan, Work
from camdebug.callbacks.arguments import check_count, check_probes, check_share
from camdebug.cam.methods.registry import MethodChoice
from camdebug.cam.model.reading import OutputScoreFn, Task
from camdebug.cam.model.subject import ForwardFn, model_use
from camdebug.cam.options import PLAIN
from camdebug.cam.target.search import LayerChoice
from camdebug.measures.split import right_against_wrong
from camdebug.measures.summary import class_scores
from camdebug.observe.checks import check_recipe
from camdebug.observe.whereabouts import reason_for, where_evidence_is, where_maps_are
from camdebug.probe.dataset import drawing_order, reader_of
from camdebug.probe.probe_set import ProbeSet
from camdebug.sources.entry import Kind

_WORST = 5


def audit(
    trainer: Any,  # noqa: ANN401 - a Trainer of either package
    model: nn.Module,
    dataset: Any,  # noqa: ANN401 - anything with __len__ and __getitem__
    *,
    class_names: Sequence[str] | None = None,
    class_to_idx: Mapping[str, int] | None = None,
    label_map: Mapping[int, int] | None = None,
    label: Callable[[Any], int | None] | None = None,
    annotation: Kind | None = None,
    probes: ProbeSet | None = None,
    per_class: int = 60,
    method: MethodChoice = "hirescam",
    target_layer: LayerChoice = None,
    forward_fn: ForwardFn | None = None,
    score_fn: OutputScoreFn | None = None,
    task: Task | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    alpha: float = 0.05,
    seed: int = 0,
) -> AuditReport:
    """Ask once, of all pictures: where does the model look, and which class leans on its background?

    The pictures go through ``trainer.predict``, so the Trainer's devices, precision, progress bar and callbacks apply;
    under ``ddp`` its processes share them and all return the same report, to the last bit whatever their number. Of
    each picture a row of numbers is kept. Then there is one look at swapped backgrounds, through probes from the
    dataset; it may say *watch* or *confirmed*. Model and Trainer come back as they were, also after a failure. (The
    Trainer's callbacks meet a module and batches of ours, and indices of pictures as predictions.)

    Args:
        trainer: of ``pytorch_lightning`` or ``lightning.pytorch``; on one device, or with the strategy ``ddp``.
        model: any module that gives scores of classes, a LightningModule or not. Only its ``forward`` is used.
        dataset: as for ``ProbeSet.from_dataset``: ``(image, target)`` with boxes or masks. Best one that was not
            trained on. Or a ``ProbeSet``. A picture that cannot be used is counted, with its reason.
        class_names: as for ``ProbeSet.from_dataset``; of a ``ProbeSet`` they are its own.
        class_to_idx: the same.
        label_map: the same.
        label: the same. A picture with objects of several classes is left out without it.
        annotation: the same.
        probes: pictures of the same classes to swap the backgrounds of; by default drawn from the dataset.
        per_class: so many probes are drawn of each class; 0 for no look.
        method: of the maps, as for ``CAMMonitor``; so are the next four.
        target_layer: dotted name or module, or a list of them; by default the last spatial stage.
        forward_fn: runs the model.
        score_fn: reads its output.
        task: ``"multiclass"`` or ``"multilabel"``.
        batch_size: pictures in a forward.
        num_workers: processes that read pictures, as of a ``DataLoader``.
        alpha: the share of clean models that get any alert, over all classes, is meant to be at most this.
        seed: of the dataset's transforms if they are random, of the probes, donors and permutations.

    Raises:
        TypeError, ValueError: when an argument does not fit; the message names it.

    >>> from pytorch_lightning import Trainer
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2))
    >>> pictures = ProbeSet(torch.rand(2, 1, 2, 2), [0, 1], torch.tensor([[0, 0, 1, 1]] * 2), class_names=["a", "b"])
    >>> quiet = dict(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    >>> report = audit(Trainer(**quiet), net, pictures, per_class=0)
    >>> [c.chance_outside_mass for c in report.classes]
    [0.75, 0.75]
    """
    package = package_of(trainer)
    recipe = check_recipe(method, PLAIN)
    check_count("batch_size", batch_size, least=1)
    check_count("num_workers", num_workers, least=0)
    check_count("per_class", per_class, least=0)
    check_count("seed", seed, least=0)
    check_share("alpha", alpha)
    check_strategy(trainer)
    options: dict[str, Any] = {"class_names": class_names, "class_to_idx": class_to_idx, "label_map": label_map}
    options |= {"label": label, "annotation": annotation}
    if probes is not None and class_names is None and class_to_idx is None and not isinstance(dataset, ProbeSet):
        options["class_names"] = check_probes(probes).class_names
    pictures: OfDataset | OfProbes
    names: tuple[str, ...] | None
    if isinstance(dataset, ProbeSet):
        _refuse(options)
        pictures, names, order = OfProbes(dataset), dataset.class_names, []
        probes = dataset if probes is None else probes
    else:
        reader = reader_of(dataset, seed=seed, **options)
        pictures, names, order = OfDataset(reader), reader.plan.names, drawing_order(reader)
    if probes is not None and check_probes(probes).class_names != names:
        raise ValueError(f"probes: expected the classes of the dataset, {names}, got {probes.class_names}")
    first = first_usable(pictures)
    if score_fn is not None and names is None:
        raise ValueError("class_names: expected the names of all classes with score_fn, which does not tell them")
    use = model_use(
        forward_fn=forward_fn, score_fn=score_fn, task=task, num_classes=None if names is None else len(names)
    )
    plan = Plan(pictures, names, probes, order, per_class, method, recipe, target_layer, use, batch_size, alpha, seed)
    work = Work(model, plan, first)
    batches = Batches(pictures, first, batch_size=batch_size, processes=trainer.world_size)
    go_through(trainer, model, work, batches, num_workers=num_workers)
    if work.found is None:
        raise ValueError("trainer: its limit_predict_batches is 0, so no picture was measured")
    return _report(work.found, plan, package)


def _refuse(options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}: expected None with a ProbeSet, which has classes of its own, got {value!r:.80}")


def _report(found: Found, plan: Plan, package: str) -> AuditReport:
    indices, labels, predicted, scores = found.rows.unpacked()
    pictures = AuditedPictures(tuple(map(plan.pictures.source_id, indices)), labels, predicted, scores)
    left_out: dict[str, list[str]] = {}
    for index, reason in sorted(found.rows.left_out.items()):
        left_out.setdefault(reason, []).append(plan.pictures.source_id(index))
    parts: dict[str, Any] = {
        "pictures": pictures,
        "size": len(plan.pictures),
        "left_out": {reason: tuple(ids) for reason, ids in left_out.items()},
        "classes": class_scores(scores, labels, pictures.correct, found.class_names),
        "split": right_against_wrong(scores, labels, pictures.correct, found.class_names),
        "worst": tuple(_worst(pictures, k) for k in range(len(found.class_names))),
        "look": _look(found, plan),
        "method": plan.recipe.name,
        "layer": ", ".join(layer.name for layer in found.layers),
        "layer_reason": reason_for(plan.recipe, found.layers[0], found.grid),
        "grid": found.grid,
        "versions": _versions(package),
    }
    where = where_maps_are(plan.recipe, found.layers, found.grid, found.size)
    evidence = where_evidence_is(plan.recipe, found.layers)
    return AuditReport(**parts, text=report_words(AuditReport(**parts, text=""), where=where, evidence=evidence))


def _worst(pictures: AuditedPictures, class_idx: int) -> tuple[Worst, ...]:
    """The largest D of a class."""
    ratio = pictures.scores.log_density_ratio
    rows = torch.nonzero((pictures.labels == class_idx) & pictures.scores.valid).flatten()
    rows = rows[torch.argsort(ratio[rows], descending=True, stable=True)][:_WORST]
    return tuple(Worst(pictures.source_ids[i], float(ratio[i]), bool(pictures.correct[i])) for i in rows.tolist())


def _look(found: Found, plan: Plan) -> BackgroundLook | None:
    record, probes = found.record, found.probes
    if record is None or probes is None:
        return None
    return BackgroundLook(
        verdict=record.verdict,
        classes=record.verdicts,
        worst=tuple(tuple(probes.source_ids[i] for i in v.worst_probes) for v in record.verdicts),
        probes=probes.counts,
        fingerprint=probes.fingerprint,
        alpha=plan.alpha,
        notes=found.notes,
    )


def _versions(package: str) -> dict[str, str]:
    import camdebug

    found = {"camdebug": camdebug.__version__, "torch": torch.__version__}
    try:
        found[package] = version(package.partition(".")[0].replace("_", "-"))
    except PackageNotFoundError:
        found[package] = "unknown"
    return found
