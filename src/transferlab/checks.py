"""What the values of a config may be. No torch."""

import os
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

# Lightning's back-ends that start the command again for each device, unless they are told to start processes.
_BY_COMMAND = ("auto", "ddp", "fsdp", "deepspeed")
_BY_PROCESS = ("fork", "spawn", "notebook")


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


def launched_again(trainer: DictConfig) -> None:
    """A multirun has no back-end that starts the whole command again, once for each further device.

    Args:
        trainer: of one of its jobs.

    Raises:
        InputError: it has.
    """
    strategy, devices = str(trainer.get("strategy")), trainer.get("devices")
    again = strategy.startswith(_BY_COMMAND) and not any(word in strategy for word in _BY_PROCESS)
    if again and _several(devices, trainer) and not _started_outside():
        raise InputError(
            f"trainer.strategy={strategy} with trainer.devices={devices} starts the command again for each device, and "
            "with it the whole sweep: set trainer.devices=1, choose a back-end that starts processes of the run alone "
            "(trainer.strategy=ddp_fork), or have srun start them"
        )


def _several(devices: Any, trainer: DictConfig) -> bool:
    """Whether there may be more than one process; `auto` is one on the CPU, and elsewhere whatever is found."""
    if int(trainer.get("num_nodes") or 1) > 1:
        return True
    if str(devices) in ("auto", "-1"):
        return str(trainer.get("accelerator")) != "cpu"
    if OmegaConf.is_list(devices) or "," in str(devices):
        return len(str(devices).strip("[],").split(",")) > 1
    return str(devices) not in ("None", "0", "1")


def _started_outside() -> bool:
    """Whether somebody else starts the processes of a run: `srun`, as Lightning finds out, or `torchrun`."""
    srun = "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    return srun or "LOCAL_RANK" in os.environ


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
