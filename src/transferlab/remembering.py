"""Hydra's loader of configs, for a command of many jobs: what they share is composed once. No torch."""

import copy
import pickle
import sys
import time
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import compress
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig

_SILENCE = 10.0  # seconds
_MOST_WORDS = 10_000
TRIAL = "hydra.sweeper.trial"
"""Of Hydra's own overrides the one that differs from job to job: which trial of a search it is."""


class Repository(ConfigRepository):
    """Reads each yaml once. What is kept are pickles: Hydra writes into what it is given."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._read: dict[tuple[str, ...], bytes] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Repository":
        return copy.copy(self)  # Hydra copies it for each config, and replaces nothing in it but the list of sources

    def load_config(self, config_path: str) -> ConfigResult | None:
        """One yaml with its list of defaults."""
        key = (config_path, *map(str, self.sources))
        if key not in self._read:
            self._read[key] = pickle.dumps(super().load_config(config_path))
        result: ConfigResult | None = pickle.loads(self._read[key])
        return result


class RememberingLoader(ConfigLoaderImpl):
    """Composes each choice of groups once, and sets single values, which choose nothing, in copies of it.

    A copy costs a hundredth of what composing does. A yaml that changes while a command runs changes none of its jobs.

    Attributes:
        expected: the jobs that Hydra composes before the first starts; a line now and then says how far it is.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = Repository(config_search_path)
        self._composed: dict[tuple[Any, ...], bytes] = {}
        self._known_groups: dict[tuple[str | None, ...], Callable[[str], bool]] = {}
        self.expect(0)

    def __getstate__(self) -> dict[str, Any]:  # a launcher of processes sends a loader with every job
        return {**self.__dict__, "_composed": {}, "_known_groups": {}}

    def expect(self, jobs: int) -> None:
        """Count from here."""
        self.expected, self._asked, self._said = jobs, 0, time.monotonic()

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """One job of a multirun."""
        self._asked += 1
        if self._asked <= self.expected and time.monotonic() - self._said > _SILENCE:
            self._said = time.monotonic()
            print(f"checked {self._asked} of {self.expected} jobs", file=sys.stderr, flush=True)
        return super().load_sweep_config(master_config, sweep_overrides)

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        parsed = [_override(word) for word in overrides]
        told = [override for override in parsed if override.key_or_group == TRIAL]
        hydras = [override for override in parsed if override.is_hydra_override() and override not in told]
        ours = [override for override in parsed if not override.is_hydra_override()]
        is_group = self._groups(config_name, [str(override.input_line) for override in hydras])
        alone = [_is_single(override, is_group) for override in ours]
        single = list(compress(ours, alone))
        # Hydra's own first, as in every job of a multirun, wherever they were written in the command
        rest = [*hydras, *(override for override, one in zip(ours, alone, strict=True) if not one)]
        lines = [str(override.input_line) for override in rest]
        key = (config_name, run_mode, from_shell, validate_sweep_overrides, *lines)
        if key not in self._composed:
            composed = super()._load_configuration_impl(
                config_name, lines, run_mode, from_shell, validate_sweep_overrides
            )
            self._composed[key] = pickle.dumps(composed)
        config: DictConfig = pickle.loads(self._composed[key])
        self._apply_overrides_to_config([*single, *told], config)
        return _told(config, ours)

    def _groups(self, config_name: str | None, hydras: list[str]) -> Callable[[str], bool]:
        """Which groups there are where configs lie; Hydra's own overrides may name more folders."""
        key = (config_name, *hydras)
        if key not in self._known_groups:
            repository = self._parse_overrides_and_create_caching_repo(config_name, hydras)[1]
            self._known_groups[key] = cache(repository.group_exists)
        return self._known_groups[key]


@lru_cache(_MOST_WORDS)
def _override(word: str) -> Override:
    """What a word of a command says, which is read once: jobs have most of their words in common."""
    return OverridesParser.create().parse_overrides([word])[0]


def _is_single(override: Override, is_group: Callable[[str], bool]) -> bool:
    """Whether it sets a value in what was composed, and neither chooses a group's option nor has several values."""
    if override.is_sweep_override():
        return False
    return isinstance(override.value(), dict) or not is_group(override.key_or_group)


def _told(config: DictConfig, overrides: list[Override]) -> DictConfig:
    """What Hydra notes of the overrides that are not its own, in the order given."""
    config.hydra.overrides.task = [override.input_line for override in overrides]
    style = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        overrides, style.exclude_keys, style.item_sep, style.kv_sep
    )
    return config
