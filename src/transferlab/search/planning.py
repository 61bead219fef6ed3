"""Which searches a command asks for: a study for each strategy, source, target and backbone that it lists. No torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from transferlab import results
from transferlab.composing import Plan, quoted, values
from transferlab.errors import InputError
from transferlab.expanding import completed
from transferlab.search.space import Dimension, dimension, said
from transferlab.search.spaces import FOLDER, check_no_seed, dimensions, is_axis, is_there, parsed, written

SWEEPER = "hydra_plugins.transferlab_search.sweeper.SearchSweeper"
"""The `_target_` of `hydra/sweeper=optuna`."""
RACING = "hydra_plugins.transferlab_search.sweeper.HalvingSweeper"
"""The `_target_` of `hydra/sweeper=halving`."""
FRESH = "_fresh"
"""Behind a study's name: the study that has the best configurations on seeds that no trial had."""
_LAST = "transferlab.selection.rules.last"


@dataclass(frozen=True)
class Search:
    """One study of a command.

    Attributes:
        name: what is searched, in a few words; other for each search of a command.
        study: what Optuna calls it.
        trials: how many it has.
        words: the overrides that all its trials have.
        space: what its trials differ in, by key; nothing: it has one trial.
        defaults: what a run that searches nothing has of it, where that lies inside; else nothing.
        config: of a run with the defaults, without its `hydra` section.
    """

    name: str
    study: str
    trials: int
    words: tuple[str, ...]
    space: Mapping[str, Dimension]
    defaults: Mapping[str, object]
    config: DictConfig

    @property
    def identity(self) -> str:
        """The hash of what makes its trials comparable: all that they share, and the space."""
        text = json.dumps([results.run_id(self.config), sorted(said(self.space))])
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def searches(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> list[Search]:
    """The searches of a command, in the order of its lists.

    Args:
        loader: of configs.
        master: the command's config, with its `hydra` section.
        words: its other overrides; they count before `hydra.sweeper.params`.

    Raises:
        InputError: it searches for a seed, for what is to be learned, by a rule that scores nothing, or for nothing
            that it could look up.
    """
    _check(master.hydra.sweeper)
    parameters = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    found = {one.get_key_element(): one for one in parsed(loader, [*parameters, *words])}
    fixed = [str(one.input_line) for one in found.values() if not one.is_sweep_override()]
    swept = [one for one in found.values() if one.is_sweep_override()]
    for one in swept:
        check_no_seed(one)
    axes = [one for one in swept if is_axis(one)]
    own = {one.get_key_element(): dimension(one) for one in swept if one not in axes}
    listed = [[f"{one.get_key_element()}={value}" for value in values(one)] for one in axes]
    return [_search(loader, master, [*fixed, *point], point, own) for point in product(*listed)]


def composed(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> DictConfig:
    """The config that a job with these overrides has, with its `hydra` section, which `HydraConfig` then is.

    Raises:
        InputError: they do not fit the yaml.
    """
    try:
        config = loader.load_sweep_config(master, list(words))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"a trial with {' '.join(words)}: {' '.join(str(error).split())}") from error
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = 0
    HydraConfig.instance().set_config(config)
    return config


def alone(config: DictConfig) -> DictConfig:
    """A composed config without its `hydra` section, as a job has it."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    with open_dict(own):
        own.axes = OmegaConf.to_container(own.axes, resolve=True)  # Hydra knows them of this job, and now
    return completed(own)


def _search(
    loader: ConfigLoader, master: DictConfig, words: list[str], point: Sequence[str], own: Mapping[str, Dimension]
) -> Search:
    config = composed(loader, master, words)
    strategy = str(config.axes.strategy)
    fixed = {word.partition("=")[0] for word in words}
    beside = {key: one for key, one in dimensions(loader, master, strategy) if key not in {*own, *fixed}}
    there = {key: one for key, one in beside.items() if is_there(config, key)}
    space = {**there, **own}
    if not space and written(loader, master, strategy) is None:
        raise InputError(
            f"there is no search space of strategy={strategy}: write {FOLDER}/{strategy}.yaml beside it, or say "
            "what to search, e.g. 'optimizer.lr=tag(log,interval(0.001,0.1))'"
        )
    defaults = {key: one.default(config) for key, one in space.items()}
    if None in defaults.values():
        defaults = {}
    run = alone(config)
    check_scores(run)
    name = "{strategy} {source}->{target} {backbone}".format_map(run.axes)
    more = [word for word in point if word.partition("=")[0] not in run.axes]
    name, sweeper = " ".join([name, *more]), master.hydra.sweeper
    study = f"{sweeper.study_name or run.study}: {name}"
    return Search(name, study, sweeper.n_trials if space else 1, tuple(words), space, defaults, run)


def _check(sweeper: DictConfig) -> None:
    """See that a search can be carried out as its settings say.

    Raises:
        InputError: it cannot.
    """
    if sweeper.direction != "maximize":
        raise InputError(
            f"hydra.sweeper.direction={sweeper.direction}: it is the selection rule's score that is searched for, of "
            "which more is always better (of val/loss it is the negative): leave it at maximize"
        )
    check_numbers(sweeper, n_trials=1, n_jobs=1, fresh_seeds=0)


def check_numbers(sweeper: DictConfig, **least: int) -> None:
    """See that settings are whole numbers.

    Args:
        sweeper: `hydra.sweeper`.
        least: what each must be at least, by key.

    Raises:
        InputError: one is none, or less.
    """
    for key, lowest in least.items():
        if not isinstance(sweeper[key], int) or sweeper[key] < lowest:
            raise InputError(f"hydra.sweeper.{key}={sweeper[key]}: a whole number from {lowest} on")


def check_scores(run: DictConfig) -> None:
    """See that a run's selection rule gives it a score.

    Raises:
        InputError: it does not.
    """
    if OmegaConf.select(run, "selection._target_") == _LAST:
        raise InputError(
            "selection=last gives an epoch no score that a search could compare: choose selection=target_val, or, "
            "without labels of the target, source_val, iwv, dev, snd, ..."
        )


def fresh(search: Search, found: Sequence[str], seeds: int) -> list[list[str]]:
    """The overrides of a configuration on each of some seeds that no trial of a search had; the seed is the last.

    Args:
        search: where it was found.
        found: what it has beside the words of all trials.
        seeds: how many.
    """
    words = [word for word in (*search.words, *found) if word.partition("=")[0] not in ("seed", "study")]
    words.append(f"study={quoted(f'{search.config.study}{FRESH}')}")
    others = [seed for seed in range(seeds + 1) if seed != search.config.seed][:seeds]
    return [[*words, f"seed={seed}"] for seed in others]


def fresh_seeds(plan: Plan, seeds: str) -> str:
    """The override for `--fresh N`.

    Raises:
        InputError: the command searches nothing.
    """
    if plan.config.hydra.sweeper._target_ not in (SWEEPER, RACING):
        raise InputError(
            f"--fresh {seeds} is for what a search found: add hydra/sweeper=optuna or halving, or list seeds: seed=0,1"
        )
    return f"hydra.sweeper.fresh_seeds={seeds}"
