"""Records of older schemas, brought to today's shape one version at a time; and configs of older versions. No torch.

A record says its schema. A config does not: what came later is known by its absence.
"""

from collections.abc import Callable, Mapping
from typing import Any

from transferlab.errors import InputError

SCHEMA = 2


def migrated(record: dict[str, Any]) -> dict[str, Any]:
    """The record as today's code would have written it; what was not measured then is null.

    Raises:
        InputError: it says no schema, or that of a newer transferlab.
    """
    schema = record.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise InputError(f"its schema is {schema!r}, where a version from 1 to {SCHEMA} is expected")
    if schema > SCHEMA:
        raise InputError(f"it was written by a newer transferlab (schema {schema}, this one reads up to {SCHEMA})")
    for version in range(schema, SCHEMA):
        record = _STEPS[version]({**record, "schema": version + 1})
    return record


def _to_2(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 2 adds what diagnostics found at the run's end, and what they cost."""
    cost = record.get("cost") or {}
    if isinstance(cost, dict):  # else it is no record, which its reader says
        cost = {"diagnostics_seconds": None, **cost}
    return {"forgetting": None, "saliency": None, **record, "cost": cost}


_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _to_2}

# By what has them: keys that came later, with the values by which it does what it did without.
_LATER: dict[str, dict[str, Any]] = {
    "transferlab.data.target.Target": {
        "missing_labels": 0.0,
        "missing_values": 0.0,
        "fitted_on": "target",
        "source_test": 0.0,
        "label_space": "same",
    },
    "transferlab.data.embedded.mnist5k": {"border": 0},
    "transferlab.data.arrays.npz": {"range": [0, 1]},
    "transferlab.data.recordings.audio_manifest": {"numbers": False, "separator": None},
    "transferlab.data.hf_datasets.hf_dataset": {"numbers": False},
    "transferlab.strategy.Strategy": {
        "head": "new",
        "adapter": None,
        "teachers": {},
        "averaging": None,
        "interpolation": None,
        "solver": None,
        "target_labels": "used",
        "views": None,
    },
    "transferlab.tasks.classification.Classification": {
        "metric": "accuracy",
        "class_weights": None,
        "label_smoothing": 0.0,
        "focal": 0.0,
        "criterion": "cross_entropy",
    },
    "transferlab.diagnostics.settings.Settings": {"privacy": False, "privacy_samples": 1000},
    "transferlab.prefix.settings.Settings": {"files": False},
    "transferlab.tasks.binary.Binary": {"focal": 0.0},
    "transferlab.backbones.torchvision.vgg": {"pooling": "classifier"},
    # they change round-off at most, so an earlier config is computed as one of today is
    "pytorch_lightning.Trainer": {"allocator": "auto", "channels_last": "auto", "fused": "auto", "threads": "auto"},
    "transferlab.inputs.arrays.ArrayInput": {"interpolation": "bilinear", "crop": None},
}
_TRAINER = "pytorch_lightning.Trainer"
_ARRAYS = "transferlab.inputs.arrays.ArrayInput"  # what every backbone took when its input had no name
_AUGMENTATION = {"_target_": "transferlab.data.augmentation.base.Augmentation", "each": {}, "batch": {}}


def later_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a saved config lacks because it came later, to be merged into it; nothing where it is of today.

    Args:
        config: of one run, as `results.write_config` writes it or Hydra composes it, unresolved.
    """
    found = _lacking(config)
    backbone = config.get("backbone") or {}
    if "input" in backbone and "_target_" not in backbone["input"]:
        found.setdefault("backbone", {})["input"] = {"_target_": _ARRAYS, **_LATER[_ARRAYS]}
    recipe = (config.get("source") or {}).get("pretrain")
    more = {} if recipe is None else _lacking_of_run(recipe)
    if recipe is not None and "trainer" not in recipe:
        more["trainer"] = {**_LATER[_TRAINER], **config["trainer"], "max_epochs": recipe["max_epochs"]}
    if more:
        source = found.setdefault("source", {})
        source["pretrain"] = {**source.get("pretrain", {}), **more}
    return {**found, **_lacking_of_run(config)}


def _lacking_of_run(config: Mapping[str, Any]) -> dict[str, Any]:
    return {} if "augmentation" in config else {"augmentation": _AUGMENTATION}


def _lacking(node: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `_LATER` that are not there, in this node and all below."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and (below := _lacking(value)):
            found[key] = below
    later = _LATER.get(str(node.get("_target_")), {})
    return {**found, **{key: value for key, value in later.items() if key not in node}}
