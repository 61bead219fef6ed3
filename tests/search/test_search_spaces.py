"""Each strategy's search space: its keys are the strategy's, its default lies inside, and its ends are values."""

from collections.abc import Iterator

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from transferlab import checks
from transferlab.composing import Composer
from transferlab.folders import shipped
from transferlab.search.planning import composed, searches

FILES = {file.stem for file in (shipped("conf") / "strategy" / "search").glob("*.yaml")}
STRATEGIES = sorted(file.stem for file in (shipped("conf") / "strategy").glob("[!_]*.yaml"))
NOTHING = {
    "linear_probe_lbfgs": "its penalty is chosen on validation in every run",
    "auto": "each run searches among strategies and rates by itself",
}
GIVEN = {"semantic_loss": ["strategy.losses.semantic_loss.rules=[{excludes:[0,1]}]"]}


@pytest.fixture(scope="module")
def conf() -> Iterator[tuple[Composer, ConfigLoader, DictConfig]]:
    with Composer() as composer:
        master = composer.config(["hydra/sweeper=optuna", "hydra.mode=MULTIRUN"], multirun=True)
        yield composer, composer.hydra.config_loader, master


def test_every_strategy_has_a_space_and_every_space_a_strategy() -> None:
    assert {*STRATEGIES} == FILES


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_space_has_keys_of_its_strategy_whose_defaults_lie_inside(conf, strategy: str) -> None:
    composer, loader, master = conf
    (search,) = searches(loader, master, [f"strategy={strategy}", *GIVEN.get(strategy, [])])
    written = OmegaConf.load(shipped("conf") / "strategy" / "search" / f"{strategy}.yaml")
    assert search.space.keys() == {*written}, "a key that the strategy does not have"
    assert bool(search.space) == (strategy not in NOTHING)
    config = composed(loader, master, search.words)
    for key, one in search.space.items():
        default = one.default(config)
        assert default is not None, f"{key}: the default is not in {one.text}"
        assert key.startswith("strategy.") or key == "optimizer.lr"
        ends = one.choices or (one.low, one.high)
        for end in ends:
            (override,) = composer.parse([one.word(int(end) if one.whole else end)])
            checks.kind(config, override)
    assert search.defaults.keys() == search.space.keys()
    distributions = {key: one.distribution() for key, one in search.space.items()}
    for key, value in search.defaults.items():
        assert distributions[key]._contains(distributions[key].to_internal_repr(value))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in {*GIVEN, "semantic_alignment"}])
def test_the_code_of_a_strategy_takes_the_ends_of_its_space(conf, strategy: str) -> None:
    _, loader, master = conf
    (search,) = searches(loader, master, [f"strategy={strategy}"])
    for last in (False, True):
        words = []
        for one in search.space.values():
            values = one.choices or (one.low, one.high)
            words.append(one.word(int(values[-last]) if one.whole else values[-last]))
        config = composed(loader, master, [*search.words, *words])
        given = (
            {"solver.source_labels": 10}
            if OmegaConf.select(config, "strategy.solver.source_labels", default=1) is None
            else {}
        )
        for key, value in given.items():
            OmegaConf.update(config.strategy, key, value)
        instantiate(config.strategy, _convert_="all")
        instantiate(config.optimizer, _convert_="all")
