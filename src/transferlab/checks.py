"""What the values of a config may be. No torch."""

from typing import Any

from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig, OmegaConf

from transferlab.errors import InputError, nearest

# Keys whose values are of several kinds by meaning: `labels: all | 10 | 0.1`.
_MANY_KINDS = frozenset(
    {"labels", "study", "strategy", "precision", "devices", "deterministic", "channels_last", "fused", "threads"}
    | {"weight", "label", "text", "test"}
)

# Keys that take one of a few words; whoever builds from them checks too, but only once torch is there.
_WORDS = {
    "strategy.start": ("source", "random"),
    "target.label_space": ("same", "partial", "open"),
    "strategy.head": ("new", "source"),
    "strategy.frozen_batchnorm": ("still", "trains"),
    "strategy.target_labels": ("used", "unused"),
    "strategy.adapter.save": ("alone", "merged"),
    "strategy.adapter.form": ("series", "parallel"),
    "strategy.losses.source_task.head": ("shared", "own"),
    "task.criterion": ("cross_entropy", "squared_error"),
    "scheduler.clock": ("per_stage", "global"),
    "trainer.allocator": ("auto", "system"),
    "trainer.channels_last": ("auto", "true", "false"),
    "trainer.fused": ("auto", "true", "false"),
    "tracker.mode": ("auto", "online", "offline"),
}


def kind(original: DictConfig, override: Override) -> None:
    """A value given on the command line is of the kind that the yaml has there.

    Args:
        original: the config without the override.
        override: of one key.

    Raises:
        InputError: it is of another kind.
    """
    key, after = override.key_or_group, override.value()
    if override.is_delete() or override.is_add() or override.is_force_add() or key.split(".")[-1] in _MANY_KINDS:
        return
    before = OmegaConf.select(original, key, throw_on_resolution_failure=False)
    interpolated = isinstance(after, str) and "${" in after
    if not interpolated and (kind := _mismatch(before, after)):
        raise InputError(f"{key}={after} is of the wrong kind: {kind} is expected, as in {key}={before}")


def words(config: DictConfig) -> None:
    """Keys that take one of a few words have one of them.

    Raises:
        InputError: one has another.
    """
    for key, known in _WORDS.items():
        value = OmegaConf.select(config, key)
        if isinstance(value, bool):
            value = str(value).lower()
        if value is not None and value not in known:
            allowed = " or ".join(f"'{word}'" for word in known)
            raise InputError(f"{key}={value}: {allowed}{nearest(str(value), known)}")


def missing(config: DictConfig) -> None:
    """Every key has a value.

    Raises:
        InputError: one has none.
    """
    if keys := sorted(OmegaConf.missing_keys(config)):
        raise InputError(f"{keys[0]} must be given: {keys[0]}=...")


def _mismatch(before: Any, after: Any) -> str | None:
    """What was expected, if `after` is of another kind than the yaml's `before`; null on either side fits all."""
    if before is None or after is None or before == "???":
        return None
    for kinds, name in (((bool,), "true or false"), ((int,), "a whole number"), ((int, float), "a number")):
        if isinstance(before, kinds) and (bool in kinds or not isinstance(before, bool)):
            fits = isinstance(after, kinds) and (bool in kinds or not isinstance(after, bool))
            return None if fits else name
    if isinstance(before, DictConfig):
        return None if isinstance(after, dict) else "a mapping"
    if OmegaConf.is_list(before):
        return None if isinstance(after, list) else "a list"
    return None if isinstance(after, (str, QuotedString)) else "a word"
