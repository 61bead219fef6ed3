"""From a command line to a config, or to one sentence that says what is wrong with it. No torch.

The check composes what Hydra is about to compose, so that a typing error costs a fraction of a second and no traceback.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import IntervalSweep, Override, Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from transferlab import checks
from transferlab.errors import InputError, nearest, refuse, unknown
from transferlab.folders import shipped
from transferlab.remembering import RememberingLoader
from transferlab.trust import check_targets


@dataclass(frozen=True)
class Plan:
    """A command that was checked.

    Attributes:
        jobs: how many there are, as far as that is known.
        multirun: whether Hydra's sweeper runs them.
        study: where they go.
        config: the first job's, with its `hydra` section.
        overrides: those that a preset's sweep has and the command line does not say anew, then the command line's.
    """

    jobs: int
    multirun: bool
    study: Path
    config: DictConfig
    overrides: tuple[Override, ...]


_SEARCHPATH = "hydra.searchpath="


class Composer:
    """Composes configs from the shipped `conf`, or another folder in its place, and a user's own folder before it."""

    def __init__(
        self, config_name: str = "train", config_dir: str | None = None, config_path: str | None = None
    ) -> None:
        if config_dir is not None and not Path(config_dir).is_dir():
            raise InputError(f"--config-dir {config_dir}: there is no such folder")
        self.config_name, self.config_dir, self.config_path = config_name.removesuffix(".yaml"), config_dir, config_path
        version.setbase("1.3")
        path = create_config_search_path(config_path or str(shipped("conf")))
        if config_dir is not None:
            path.prepend(provider="command-line", path=f"file://{Path(config_dir).resolve()}")
        GlobalHydra.instance().clear()
        self._loader = RememberingLoader(path)
        self.hydra = Hydra("transferlab", self._loader)
        GlobalHydra.instance().initialize(self.hydra)

    def __enter__(self) -> "Composer":
        return self

    def __exit__(self, *_: object) -> None:
        GlobalHydra.instance().clear()

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Hydra's own reading of the overrides."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        try:
            return OverridesParser.create(self._loader).parse_overrides(list(overrides))
        except OverrideParseException as error:
            raise InputError(f"'{error.override}' is no override: write KEY=VALUE, e.g. strategy=l2_sp") from error

    def config(self, overrides: Sequence[str], multirun: bool = False, name: str | None = None) -> DictConfig:
        """The composed config with its `hydra` section, or another config by its name; errors as Hydra raises them."""
        mode = RunMode.MULTIRUN if multirun else RunMode.RUN
        return self._loader.load_configuration(name or self.config_name, list(overrides), run_mode=mode)

    def launch(self, job: TaskFunction, overrides: Sequence[str], multirun: bool, jobs: int) -> None:
        """Have Hydra run a command that was checked, with what the check composed.

        Args:
            job: runs one.
            overrides: as on the command line.
            multirun: as the plan has it.
            jobs: how many there are.
        """
        self.expect(jobs)
        if multirun:
            self.hydra.multirun(self.config_name, job, [*overrides, "hydra.mode=MULTIRUN"])
        else:
            self.hydra.run(self.config_name, job, list(overrides))

    def expect(self, jobs: int) -> None:
        """Have a line now and then say how many of so many jobs are composed."""
        self._loader.expect(jobs)

    def options(self, group: str) -> list[str]:
        """The names that `group=` takes: every yaml but those that only others build on (`_base`)."""
        return [name for name in self._loader.get_group_options(group) if not name.startswith("_")]

    def is_group(self, key: str) -> bool:
        """Whether the key names a config group, such as `strategy` or `strategy/freezing@x.y`."""
        return bool(self._loader.get_group_options(key.split("@")[0]))

    def check(self, overrides: Sequence[str], multirun: bool) -> Plan:
        """Check every job of a command before any starts.

        Groups are composed option by option and listed values are held against the yaml one by one; the product of both
        is not walked through.

        Args:
            overrides: as on the command line.
            multirun: whether `-m` is given; a preset may say so itself.

        Raises:
            InputError: the first thing that is wrong, what exists, and the nearest name.
        """
        parsed = self.parse(overrides)
        multirun, preset = self._preset(parsed, multirun)
        every = (*self.parse(preset), *parsed)
        sweeps = {o.get_key_element(): values(o) for o in every}
        if not multirun and (swept := [key for key, listed in sweeps.items() if len(listed) > 1]):
            raise InputError(f"{swept[0]} has several values: add -m to run them all")
        first = {key: listed[0] for key, listed in sweeps.items()}
        config, original = self._check_job(first)
        if multirun and "trainer" in config and not _has_srun(config):
            checks.launched_again(config.trainer)
        others = [(key, value) for key, listed in sweeps.items() for value in listed[1:]]
        for key, value in others:  # what costs nothing to find is found first
            if not self.is_group(key):
                checks.kind(original, self.parse([f"{key}={value}"])[0])
            elif value not in (known := self.options(key.split("@")[0].lstrip("+~"))):
                raise unknown(key, value, known)
        for key, value in others:
            if self.is_group(key):
                self._check_job({**first, key: value})
        study = Path(str(config.paths.runs)) / str(config.study) if "paths" in config else Path()
        jobs = prod(len(sweeps[key]) for key in {o.get_key_element() for o in every if is_listed(o)})
        return Plan(jobs, multirun, study, config, every)

    def _preset(self, overrides: Sequence[Override], multirun: bool) -> tuple[bool, list[str]]:
        """Whether the config is a sweep, and the part of its own sweep that the command line does not say anew."""
        plain = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        with _OneSentence(self, plain):
            config = self.config(plain, multirun)
        multirun = multirun or config.hydra.mode == RunMode.MULTIRUN
        given = {override.get_key_element() for override in overrides}
        parameters = OmegaConf.select(config, "hydra.sweeper.params") or {}
        return multirun, [f"{key}={value}" for key, value in parameters.items() if multirun and key not in given]

    def _check_job(self, overrides: Mapping[str, str]) -> tuple[DictConfig, DictConfig]:
        """Compose one job and look at all of it; its config, and what that would be without the values given."""
        lines = [f"{key}={value}" for key, value in overrides.items()]
        with _OneSentence(self, lines):
            config = self.config(lines)
            HydraConfig.instance().set_config(config)
            parsed = self.parse(lines)
            changes = [override for override in parsed if not self.is_group(override.key_or_group)]
            groups = [line for line in lines if self.is_group(line.split("=")[0].lstrip("+~")) or _SEARCHPATH in line]
            original = self.config(groups) if changes else config
            for override in changes:
                checks.kind(original, override)
            plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            checks.missing(plain)
            OmegaConf.resolve(plain)
            checks.words(plain)
            check_targets(plain)
            check_targets(config.hydra, of_hydra=True)
        return config, original

    def explain(self, error: Exception, overrides: Sequence[str]) -> InputError:
        """Hydra's and OmegaConf's errors in one sentence with the nearest name."""
        if isinstance(error, MissingConfigException) and error.missing_cfg_file:
            group, _, name = str(error.missing_cfg_file).rpartition("/")
            if not group:
                return InputError(f"there is no config '{name}' (--config-name) in the config folders")
            return unknown(f"{group}", name, self.options(group))
        if found := re.search(r"Could not (?:override|append|delete).*?'([^']+)'", str(error)):
            return self._unknown_key(found.group(1).split("@")[0], overrides)
        return InputError(" ".join(str(error).split()))

    def _unknown_key(self, key: str, overrides: Sequence[str]) -> InputError:
        groups = [line for line in overrides if self.is_group(line.split("=")[0].lstrip("+~"))]
        try:
            node: Any = self.config([line for line in groups if line.split("=")[0].split("@")[0] != key])
        except HydraException:
            node = self.config([])
        path = key.replace("/", ".").split(".")
        for depth, part in enumerate(path):
            names = [str(name) for name in node if name != "hydra"] if isinstance(node, DictConfig) else []
            if part not in names:
                where = ".".join(path[:depth])
                if not names:
                    return InputError(f"there is no key '{key}': {where} is a value and has no keys below it")
                hint = nearest(part, names)
                found = ", ".join(names)
                return InputError(f"there is no key '{key}'{hint} ({where or 'a config'} has: {found})")
            node = OmegaConf.select(node, part, throw_on_resolution_failure=False)
        return InputError(
            f"'{key}' cannot be overridden like this: it is no config group, or is written with + by mistake"
        )


class _OneSentence:
    """Turns what Hydra raises inside a `with` into an InputError."""

    def __init__(self, composer: Composer, overrides: Sequence[str]) -> None:
        self._composer, self._overrides = composer, overrides

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (ConfigCompositionException, OmegaConfBaseException, HydraException)):
            raise self._composer.explain(error, self._overrides) from error


def _has_srun(config: DictConfig) -> bool:
    """Whether the jobs will be started by Slurm, whoever checks them now."""
    return "Slurm" in str(OmegaConf.select(config, "hydra.launcher._target_"))


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's own command line; flags may stand before, between and behind the overrides.

    Raises:
        InputError: no such flag.
    """
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parsed: argparse.Namespace = parser.parse_intermixed_args(list(argv))
    return parsed


def is_listed(override: Override) -> bool:
    """Whether the values are known beforehand; an interval to be searched is not."""
    return not override.is_sweep_override() or override.is_discrete_sweep()


def values(override: Override) -> list[str]:
    """The values of one override as written, one unless it is a sweep; of an interval its two ends."""
    if isinstance(sweep := override.value(), IntervalSweep):
        return [str(sweep.start), str(sweep.end)]
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def quoted(text: str) -> str:
    """A text as one value of an override, whatever is in it."""
    return str(QuotedString(text, Quote.single).with_quotes())
