"""The dataset behind a loader of a LightningDataModule, known by its methods alone and never iterated."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)

from camdebug.rng import preserved_rng
from camdebug.wording import told

Stage = Literal["fit", "validate", "test", "predict"]

_LOADERS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}
_BATCH_HOOKS = ("on_before_batch_transfer", "on_after_batch_transfer")


def dataset_of(datamodule: Any, *, stage: Stage, loader: int | str) -> Any:  # noqa: ANN401
    """Return the dataset that a loader takes its pictures from; see ``ProbeSet.from_datamodule``.

    Raises:
        TypeError, ValueError: when there is no such loader, or it does not say which pictures it takes.
    """
    if stage not in get_args(Stage):
        raise ValueError(f"stage: expected one of {', '.join(get_args(Stage))}, got {stage!r:.80}")
    name = f"{_LOADERS[stage]}_dataloader"
    if not all(callable(getattr(datamodule, method, None)) for method in (name, "prepare_data", "setup")):
        raise TypeError(
            f"datamodule: expected a LightningDataModule with {name}(), got {type(datamodule).__name__}; for a dataset "
            "there is ProbeSet.from_dataset, for annotated files ProbeSet.from_source"
        )
    _check_defined(datamodule, stage, name)
    with preserved_rng():
        return _pictures_of(_chosen(_loaders(datamodule, name, stage), loader, name), name)


def notes_on(datamodule: Any) -> list[str]:  # noqa: ANN401
    """What to say about a datamodule whose pictures change on the way to the model."""
    own = [name for name in _BATCH_HOOKS if _is_own(datamodule, name)]
    if not own:
        return []
    return [
        f"ProbeSet: the datamodule changes batches in {' and '.join(own)}, which probes do not go through: they must "
        "be as the model receives them"
    ]


def _check_defined(datamodule: Any, stage: str, name: str) -> None:  # noqa: ANN401
    """Raise where a datamodule has Lightning's own method, which gives nothing but an error."""
    defined = [stage for stage, loader in _LOADERS.items() if _defines(datamodule, f"{loader}_dataloader")]
    if stage not in defined:
        others = " or ".join(f'stage="{found}"' for found in defined) or "one that has loaders"
        raise ValueError(
            f'stage: "{stage}" takes the pictures of {name}(), which {type(datamodule).__name__} does not define; pass '
            f"{others}"
        )


def _defines(datamodule: Any, name: str) -> bool:  # noqa: ANN401
    return name in vars(datamodule) or _is_own(datamodule, name)  # from_datasets() sets them on the instance


def _is_own(datamodule: Any, name: str) -> bool:  # noqa: ANN401
    method = getattr(type(datamodule), name, None)
    return getattr(method, "__module__", "lightning").split(".")[0] not in ("lightning", "pytorch_lightning")


def _loaders(datamodule: Any, name: str, stage: str) -> Any:  # noqa: ANN401
    """What the method gives; where it gives nothing yet, once more after setting up."""
    try:
        found = getattr(datamodule, name)()
        is_there = _has_dataset(found)
    except Exception:  # as a rule an attribute that setup() makes; if it is not that, it comes again below
        is_there = False
    if not is_there:
        try:
            found = _set_up(datamodule, name, stage)
        except AttributeError as error:
            _explain(datamodule, error)
            raise
    return found


def _set_up(datamodule: Any, name: str, stage: str) -> Any:  # noqa: ANN401
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:  # once on each machine, as the Trainer does
        datamodule.prepare_data()
    datamodule.setup(stage)
    return getattr(datamodule, name)()


def _explain(datamodule: Any, error: AttributeError) -> None:  # noqa: ANN401
    """Raise with what to do where a datamodule asks something of a Trainer that it does not have yet."""
    if error.obj is None and getattr(datamodule, "trainer", None) is None:
        raise ValueError(
            f"datamodule: {type(datamodule).__name__} could not be set up ({told(error)}), and has no Trainer; where "
            "it asks its Trainer for something set datamodule.trainer first, or pass the dataset to from_dataset"
        ) from error


def _has_dataset(loaders: Any) -> bool:  # noqa: ANN401
    parts = list(_by_key(loaders).values())
    return bool(parts) and all(getattr(part, "dataset", None) is not None for part in parts)


def _by_key(loaders: Any) -> dict[int | str, Any]:  # noqa: ANN401
    """Loaders by position or key; a CombinedLoader has its own under ``iterables``."""
    if not hasattr(loaders, "dataset"):
        loaders = getattr(loaders, "iterables", loaders)
    if isinstance(loaders, Mapping):
        return dict(loaders)
    if isinstance(loaders, Sequence):
        return dict(enumerate(loaders))
    return {0: loaders}


def _chosen(loaders: Any, key: int | str, name: str) -> Any:  # noqa: ANN401
    parts = _by_key(loaders)
    keys = list(parts)
    if key in parts:
        return parts[key]
    if type(key) is int and 0 <= key < len(keys):  # position in a dict
        return parts[keys[key]]
    raise ValueError(f"loader: expected one of {keys or 'none'} of {name}(), got {key!r:.80}")


def _pictures_of(loader: Any, name: str) -> Any:  # noqa: ANN401
    """The dataset, or the part of it that the loader's sampler keeps to."""
    dataset, sampler = getattr(loader, "dataset", None), getattr(loader, "sampler", None)
    if dataset is None:
        raise TypeError(f"datamodule: expected {name}() to give a DataLoader, got {type(loader).__name__}")
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            f"datamodule: expected a map-style dataset behind {name}(), got the IterableDataset "
            f"{type(dataset).__name__}; draw pictures from it yourself and pass ProbeSet(images, labels, boxes)"
        )
    batches = getattr(loader, "batch_sampler", None)
    if type(sampler) is SubsetRandomSampler and type(batches) in (BatchSampler, type(None)):
        return Subset(dataset, [int(index) for index in sampler.indices])
    plain = (SequentialSampler, RandomSampler, DistributedSampler, type(None))
    chooses = next(
        (s for s, known in ((sampler, plain), (batches, (BatchSampler, type(None)))) if type(s) not in known), None
    )
    if chooses is not None:
        raise ValueError(
            f"datamodule: {name}() draws its pictures with a {type(chooses).__name__}, which does not say which ones "
            "it takes; pass their dataset to ProbeSet.from_dataset"
        )
    return dataset
