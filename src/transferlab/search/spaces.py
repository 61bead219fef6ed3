"""The search space of a strategy, which lies beside it, and what of a command is searched at all. No torch."""

from collections.abc import Iterator, Mapping, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from transferlab.errors import InputError
from transferlab.search.space import Dimension, dimension

FOLDER = "strategy/search"
"""In a folder of configs: the search space of each strategy, by its name."""
AXIS = "strategy"
"""What a search is made for; a race is between several of it."""
# what is learned from what, and chosen how: trials that differ in it are not comparable
_AXES = ("source", "target", "backbone", "input", "task", "selection", "rules", "study")


def parsed(loader: ConfigLoader, words: Sequence[str]) -> list[Override]:
    """Overrides as Hydra reads them.

    Raises:
        InputError: one is none.
    """
    try:
        return OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    except OverrideParseException as error:
        raise InputError(f"'{error.override}' is nothing to search: {error.__cause__ or error}") from error


def is_axis(override: Override) -> bool:
    """Whether a list of values is one of studies.

    Raises:
        InputError: it is no list.
    """
    key = override.get_key_element().lstrip("+~")
    first = key.replace("/", ".").replace("@", ".").split(".")[0]
    if key != AXIS and first not in _AXES:
        return False
    if override.is_interval_sweep():
        raise InputError(
            f"{override.input_line}: {first} says what is compared, and is listed (a,b), never "
            "searched; each of a list has a study of its own"
        )
    return True


def check_no_seed(override: Override) -> None:
    """See that several values are none of a seed.

    Raises:
        InputError: they are.
    """
    if override.get_key_element().split(".")[-1] == "seed":
        raise InputError(
            f"{override.input_line}: a seed is never searched, as the luckiest would be found; "
            "hydra.sweeper.fresh_seeds=N runs the best configuration on N others"
        )


def dimensions(loader: ConfigLoader, master: DictConfig, strategy: str) -> Iterator[tuple[str, Dimension]]:
    """The dimensions of a strategy's own space, in the order of its yaml.

    Raises:
        InputError: it has something that is none.
    """
    words = [f"{key}={value}" for key, value in (written(loader, master, strategy) or {}).items()]
    for one in parsed(loader, words):
        check_no_seed(one)
        if not one.is_sweep_override() or is_axis(one):
            raise InputError(
                f"{FOLDER}/{strategy}.yaml: {one.input_line} is no search; write interval(a,b) or choice(a,b,...)"
            )
        yield one.get_key_element(), dimension(one)


def written(loader: ConfigLoader, master: DictConfig, strategy: str) -> Mapping[str, object] | None:
    """What the yaml of a strategy's space says; None where there is none."""
    places = [one for one in master.hydra.overrides.hydra if one.lstrip("+").startswith("hydra.searchpath=")]
    try:
        config = loader.load_configuration(f"{FOLDER}/{strategy}", places, run_mode=RunMode.RUN)
    except MissingConfigException:
        return None
    found = OmegaConf.to_container(config)
    assert isinstance(found, dict)
    for part in FOLDER.split("/"):  # Hydra puts a yaml where its folder says
        found = found.get(part) or {}
    return {str(key): value for key, value in found.items()}


def is_there(config: DictConfig, key: str) -> bool:
    """Whether a run has such a key: it may have another part in place of the strategy's own."""
    missing = object()
    try:
        return OmegaConf.select(config, key, default=missing) is not missing or key in config.hydra.runtime.choices
    except OmegaConfBaseException:
        return False
