"""What a command searches: lists of what is compared are studies, everything else a dimension, a seed neither."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from transferlab import cli, results
from transferlab.composing import Composer
from transferlab.errors import InputError
from transferlab.search.planning import Search, alone, composed, fresh, searches
from transferlab.search.trials import word


@pytest.fixture
def asked() -> Iterator[Callable[..., list[Search]]]:
    with Composer() as composer:
        master = composer.config(["hydra/sweeper=optuna", "hydra.mode=MULTIRUN"], multirun=True)
        yield lambda *words: searches(composer.hydra.config_loader, master, words)


def test_lists_of_what_is_compared_have_a_study_each_with_as_many_trials(asked) -> None:
    found = asked("strategy=l2_sp,dann", "source=mnist5k,none", "backbone=convnet,mlp", "target.labels=5,10", "seed=3")
    assert len({search.name for search in found}) == len({search.study for search in found}) == 16
    assert {search.trials for search in found} == {20}
    assert {search.config.seed for search in found} == {3}
    for search in found:
        dimension = {"l2_sp": "strategy.losses.l2_sp.weight", "dann": "strategy.losses.dann.reversal.high"}
        assert search.space.keys() == {"optimizer.lr", dimension[search.config.axes.strategy]}


def test_the_command_adds_to_a_space_takes_its_place_and_fixes_what_it_gives_one_value(asked) -> None:
    (search,) = asked("strategy=l2_sp", "optimizer.lr=interval(0.1,0.2)", "batch_size=16,32")
    assert search.space["optimizer.lr"].text == "interval(0.1,0.2)"
    assert search.space["batch_size"].choices == ("16", "32")
    assert "strategy.losses.l2_sp.weight" in search.space
    assert search.defaults == {}, "the default rate is outside"
    (search,) = asked("strategy=l2_sp", "strategy.losses.l2_sp.weight=3")
    assert search.space.keys() == {"optimizer.lr"}
    assert search.defaults == {"optimizer.lr": 0.01}


def test_what_another_part_took_the_place_of_is_not_searched(asked) -> None:
    (search,) = asked("strategy=lp_ft", "strategy/freezing=full")
    assert search.space.keys() == {"optimizer.lr"}


def test_a_space_of_nothing_has_one_trial(asked) -> None:
    (search,) = asked("strategy=linear_probe_lbfgs")
    assert (search.trials, dict(search.space)) == (1, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=0,1"], "seed=0,1: a seed is never searched"),
        (["seed=range(3)"], "a seed is never searched"),
        (["seed=interval(0,9)"], "a seed is never searched"),
        (["source.pretrain.seed=0,1"], "a seed is never searched"),
        (["target.labels=interval(5,10)"], "target says what is compared, and is listed"),
        (["optimizer.lr=interval(1.0,0.1)"], "an interval(a,b) has a < b"),
        (["optimizer.lr=tag(log,interval(0.0,0.1))"], "0 < a"),
        (["selection=last"], "selection=last gives an epoch no score"),
        (["selection=target_val,last"], "selection=last gives an epoch no score"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(asked, words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
        asked(*words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=0,1"], "a seed is never searched"),
        (["optimizer.rl=interval(0.1,0.2)"], "there is no key 'optimizer.rl'; did you mean 'lr'?"),
        (["batch_size=interval(0.1,0.2)"], "a whole number is expected"),
        (["hydra.sweeper.direction=minimize"], "leave it at maximize"),
        (["--fresh", "-1"], "hydra.sweeper.fresh_seeds=-1: a whole number from 0 on"),
        (["--fresh", "x"], "a whole number is expected"),
        (["--fresh", "1", "hydra/sweeper=basic"], "--fresh 1 is for what a search found: add hydra/sweeper=optuna"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: a whole number from 1 on"),
        (["hydra.sweeper.sampler._target_=os.system"], "outside the trusted packages"),
    ],
)
def test_the_command_says_so_before_anything_is_written(words: list[str], said: str, capsys) -> None:
    assert cli.main(["train", "-m", "hydra/sweeper=optuna", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(Path().rglob("*.db")) + list(Path().rglob("run.json"))


def test_a_strategy_of_ones_own_brings_its_space_or_is_told_how(capsys) -> None:
    own = Path("own/strategy")
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# Mine\ndefaults: [full_finetune, _self_]\n")
    words = ["train", "-m", "--config-dir", "own", "strategy=mine", "hydra/sweeper=optuna"]
    assert cli.main([*words, "--dry-run"]) == 1
    assert "there is no search space of strategy=mine: write strategy/search/mine.yaml" in capsys.readouterr().err
    assert cli.main([*words, "optimizer.lr=interval(0.1,0.2)", "--dry-run"]) == 0
    capsys.readouterr()
    (own / "search").mkdir()
    (own / "search" / "mine.yaml").write_text(
        "# Mine\noptimizer.lr: choice(0.1, 0.2)\nstrategy.lr_decay: interval(0.5, 1.0)\n"
    )
    assert cli.main([*words, "--dry-run"]) == 0
    assert "  strategy.lr_decay=interval(0.5, 1.0)" in capsys.readouterr().out
    (own / "search" / "mine.yaml").write_text("# Mine\nseed: range(9)\n")
    assert cli.main([*words, "--dry-run"]) == 1
    assert "a seed is never searched" in capsys.readouterr().err


def test_a_trial_is_the_run_that_its_overrides_are_without_a_search() -> None:
    words = ["strategy=l2_sp", "optimizer.lr=0.0123", "strategy.losses.l2_sp.weight=0.5"]
    ids = []
    for hydra, more in ([], []), (["hydra/sweeper=optuna"], [word("sqlite:///it's.db", "a 'study': x", 3)]):
        with Composer() as composer:
            master = composer.config([*hydra, "hydra.mode=MULTIRUN"], multirun=True)
            config = composed(composer.hydra.config_loader, master, [*words, *more])
            ids.append(results.run_id(alone(config)))
            asked = config.hydra.sweeper.get("trial")
    assert ids[0] == ids[1]
    assert (asked.storage, asked.study, asked.number) == ("sqlite:///it's.db", "a 'study': x", 3)


def test_fresh_seeds_are_none_of_a_trials(asked) -> None:
    (search,) = asked("strategy=l2_sp", "seed=2", "study=mine")
    runs = fresh(search, ["optimizer.lr=0.5"], 4)
    assert [run[-1] for run in runs] == ["seed=0", "seed=1", "seed=3", "seed=4"]
    for run in runs:
        assert {"strategy=l2_sp", "optimizer.lr=0.5", "study='mine_fresh'"} < {*run}
        assert not {"seed=2", "study=mine"} & {*run}
