"""Which races a command asks for: all strategies that it lists, with all else that it lists, against one another.

No torch.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from transferlab.composing import values
from transferlab.errors import InputError
from transferlab.search.planning import Search, alone, check_numbers, check_scores, composed
from transferlab.search.space import Dimension, dimension
from transferlab.search.spaces import AXIS, check_no_seed, is_axis, parsed

_WHOLE = "trainer.max_epochs"


def races(loader: ConfigLoader, master: DictConfig, words: Sequence[str]) -> list[Search]:
    """The races of a command, one for each source, target, backbone, ... that it lists.

    Each is a search whose space is a grid, of which every point is one candidate.

    Args:
        loader: of configs.
        master: the command's config, with its `hydra` section.
        words: its other overrides; they count before `hydra.sweeper.params`.

    Raises:
        InputError: it races seeds, whole runs of several lengths, an interval, by a rule that scores nothing, or one
            candidate alone.
    """
    sweeper = master.hydra.sweeper
    check_numbers(sweeper, factor=2, first=1, fresh_seeds=0)
    parameters = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    found = {one.get_key_element(): one for one in parsed(loader, [*parameters, *words])}
    fixed = [str(one.input_line) for one in found.values() if not one.is_sweep_override()]
    swept = [one for one in found.values() if one.is_sweep_override()]
    for one in swept:
        check_no_seed(one)
    axes = [one for one in swept if is_axis(one) and one.get_key_element() != AXIS]
    space = {one.get_key_element(): _listed(dimension(one)) for one in swept if one not in axes}
    listed = [[f"{one.get_key_element()}={value}" for value in values(one)] for one in axes]
    return [_race(loader, master, [*fixed, *point], point, space) for point in product(*listed)]


def candidates(race: Search) -> list[tuple[str, ...]]:
    """What each candidate has beside the words of all, in the order of the lists."""
    return list(product(*([one.word(value) for value in one.choices] for one in race.space.values())))


def _listed(one: Dimension) -> Dimension:
    """A dimension of which every value is tried.

    Raises:
        InputError: it is an interval, or says how long a run is.
    """
    if not one.choices:
        raise InputError(f"{one.key}={one.text}: a race tries every value that is listed; list some (a,b)")
    if one.key == _WHOLE:
        raise InputError(f"{one.key}={one.text}: candidates are judged after as many epochs of runs of one length")
    return one


def _race(
    loader: ConfigLoader,
    master: DictConfig,
    words: list[str],
    point: Sequence[str],
    space: Mapping[str, Dimension],
) -> Search:
    first = [one.word(one.choices[0]) for one in space.values()]
    run = alone(composed(loader, master, [*words, *first]))
    check_scores(run)
    if (count := prod(len(one.choices) for one in space.values())) < 2:
        raise InputError("there is one candidate alone: list what is to race, as in strategy=l2_sp,lp_ft")
    more = [word for word in point if word.partition("=")[0] not in run.axes]
    name = " ".join(["race", "{source}->{target} {backbone}".format_map(run.axes), *more])
    return Search(name, f"{run.study}: {name}", count, tuple(words), space, {}, run)
