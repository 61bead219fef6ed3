"""Every yaml is composed, held against the code that it names, and every strategy is run."""

import inspect
import json
import os
import random
import shutil
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from transferlab import cli, results
from transferlab.composing import Composer
from transferlab.errors import InputError
from transferlab.folders import shipped

CONF = shipped("conf")
SWEEPS = sorted(shipped("sweeps").glob("*.yaml"))
CARDS = Path(__file__).parents[1] / "docs" / "strategies"
EVERY_YAML = sorted([*CONF.rglob("*.yaml"), *SWEEPS])
OPTIONS = [
    (str(file.parent.relative_to(CONF)), file.stem)
    for file in sorted(CONF.rglob("*.yaml"))
    if file.parent not in (CONF, CONF / "hydra", CONF / "strategy" / "search") and not file.name.startswith("_")
]
# A part that no default of `train.yaml` names is put where a user puts it: with this strategy, under this key.
PLACES = {
    "input": ("scratch", "input@backbone.input"),
    "score": ("scratch", "+score"),
    "strategy/loss": ("scratch", "+strategy/loss@strategy.losses.{name}"),
    "strategy/teacher": ("kd", "+strategy/teacher@strategy.teachers.{name}"),
    "strategy/averaging": ("scratch", "+strategy/averaging"),
    "strategy/adapter": ("scratch", "+strategy/adapter"),
    "strategy/solver": ("linear_probe", "+strategy/solver"),
    "strategy/interpolation": ("scratch", "+strategy/interpolation"),
    "strategy/weight": ("l2_sp", "+strategy/weight@strategy.losses.l2_sp.weight"),
}
# strategies, seeds, and what else is swept
JOBS = {
    "quickstart": (6, 5, 1),
    "supervised": (37, 3, 3 * 2),
    "freezing_depth": (1, 5, 4),
    "label_budget": (4, 3, 4 * 2),
    "loss_weight": (1, 3, 5 * 3),
    "shootout": (39, 3, 2),
    "learning_rate": (6, 3, 5),
    "successive_halving": (6, 1, 5),
}
HYDRAS_KEYS = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}

STRATEGIES = [name for group, name in OPTIONS if group == "strategy"]
# What a strategy must be given.
GIVEN = {
    "semantic_loss": ["strategy.losses.semantic_loss.rules=[{excludes:[0,1]}]"],
    **{name: ["strategy.solver.source_labels=10"] for name in ("coral", "jda", "kmm", "tca")},
    "subspace_alignment": ["strategy.solver.adapt.components=4"],  # of 8 features
    "osbp": ["target.label_space=open", "task=open_set"],
}
# What is run elsewhere: tests/matrix has nets that it goes with.
ELSEWHERE = {
    "vpt": "a convnet has no blocks that attend over tokens",
    "auto": "it chooses among others; tests/test_automatic.py runs it",
}
DIGITS = ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10"]
TINY = [
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "tracker=none",
]
# A target without labels cannot be its own source.
ADAPTING = [
    *("source=mnist5k", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10", "target.labels=none"),
    *("selection=last", "+trainer.limit_train_batches=3"),
]
ADAPTING_A_DAY = 8  # of those for targets without labels, drawn by the day; TRANSFERLAB_MATRIX_WHOLE=1 takes all
STEPS = 3  # 6 labels of each of 10 classes, round(0.2 * 6) = 1 of them held out: 50 samples by 16, and 2 that remain


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    with Composer() as composer:
        yield composer


def composed(composer: Composer, **choices: str) -> DictConfig:
    """The config as one job's check leaves it, which is all that `Composer.check` does; mandatory values are given."""
    try:
        return composer._check_job(choices)[0]
    except InputError as error:
        key, found, _ = str(error).partition(" must be given")
        if not found:
            raise
    return composed(composer, **choices, **{key: "given"})


def targets(node, key: str = "") -> Iterator[tuple[str, dict]]:
    """Every mapping with a `_target_`, by its key."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node
        for name, child in node.items():
            yield from targets(child, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from targets(child, f"{key}[{index}]")


def parameters(target: str) -> inspect.Signature:
    found = get_object(target)
    assert callable(found), target
    return inspect.signature(found)


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids=[f"{group}={name}" for group, name in OPTIONS])
def test_an_option_composes_and_the_code_it_names_takes_its_values(composer: Composer, group: str, name: str) -> None:
    strategy, key = PLACES.get(group, ("scratch", group))
    key = key.format(name=name)
    choices = {"source": "none", "strategy": strategy, key: name}
    if group.startswith("hydra/sweeper/"):
        choices["hydra/sweeper"] = "optuna"
    config = composed(composer, **choices)
    assert config.hydra.runtime.choices[key.lstrip("+")] == name
    plain = OmegaConf.to_container(OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), resolve=True)
    found = dict(targets(plain))
    assert {"target", "target.data", "backbone", "task", "strategy", "optimizer", "scheduler"} <= set(found)
    for key, node in found.items():
        signature = parameters(node["_target_"])
        not_its = (*HYDRAS_KEYS, *(results.COMPUTING if key.split(".")[-1] == "trainer" else ()))
        values = {name: value for name, value in node.items() if name not in not_its}
        try:
            # what a partial is called with later is positional, so its yaml may leave that out, but no keyword
            (signature.bind_partial if node.get("_partial_") else signature.bind)(**values)
        except TypeError as error:
            pytest.fail(f"{key}: {node['_target_']}: {error}")
        required = {p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
        assert required <= set(values), key
        if node["_target_"].startswith("transferlab."):
            defaults = {p.name for p in signature.parameters.values() if p.default is not p.empty}
            assert not defaults & set(values), f"{key}: these have a default in Python beside the yaml's: {defaults}"


def test_a_value_that_the_code_does_not_take_is_noticed() -> None:
    with pytest.raises(TypeError):
        parameters("transferlab.freezing.top_k").bind_partial(j=1)


@pytest.mark.parametrize("file", EVERY_YAML, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_yaml_begins_with_a_comment_that_says_what_it_is(file: Path) -> None:
    first = file.read_text().splitlines()[0]
    assert first.startswith("# ") and len(first) > 10


def test_every_strategy_has_a_card_and_every_card_a_strategy() -> None:
    assert {card.stem for card in CARDS.glob("*.md")} == set(STRATEGIES)


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_a_sweep_composes_and_has_as_many_jobs_as_its_card_says(file: Path, tmp_path: Path) -> None:
    assert file.stem in JOBS, "a new sweep says here how many jobs it has"
    strategies, seeds, others = JOBS[file.stem]
    two = ["strategy=scratch,l2_sp"] if strategies > 1 else []
    with Composer(file.stem, str(file.parent)) as composer:
        plan = composer.check([f"paths.runs={tmp_path}"], multirun=False)
        fewer = composer.check([f"paths.runs={tmp_path}", "seed=7", *two], multirun=False)
    assert plan.jobs == strategies * seeds * others
    assert fewer.jobs == (2 if two else 1) * others
    assert plan.study == tmp_path / file.stem


@pytest.fixture(scope="module")
def every_strategy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The record of each strategy."""
    runs = tmp_path_factory.mktemp("every")
    net = ["backbone=convnet", "backbone.input.shape=[1,8,8]", "backbone.widths=[4,8]"]
    alone = [name for name in TRIED if name not in GIVEN | ELSEWHERE]
    lists = [
        (DIGITS, [name for name in alone if not adapts(name)]),
        (ADAPTING, [name for name in alone if adapts(name)]),
    ]
    words = [["-m", f"strategy={','.join(names)}", *TINY, *data] for data, names in lists]
    for name in sorted(GIVEN.keys() & set(TRIED)):
        words.append([f"strategy={name}", *TINY, *(ADAPTING if adapts(name) else DIGITS), *GIVEN[name]])
    for more in words:
        assert cli.main(["train", *more, *net, f"paths.runs={runs}"]) == 0
    return records(runs)


def adapts(strategy: str) -> bool:
    """Whether a strategy is there for targets without labels."""
    node = OmegaConf.load(CONF / "strategy" / f"{strategy}.yaml")
    losses = [str(one).rpartition(": ")[2] for one in node.defaults if "loss@" in str(one)]
    losses = [name.strip("'} ") for name in losses]
    named = [OmegaConf.load(CONF / "strategy" / "loss" / f"{name}.yaml")._target_ for name in losses]
    return node.get("target_labels") == "unused" or any(".losses.domains." in one for one in named)


def tried() -> list[str]:
    seed = int(os.environ["TRANSFERLAB_TEST_SEED"])
    adapting = [name for name in STRATEGIES if adapts(name)]
    whole = "TRANSFERLAB_MATRIX_WHOLE" in os.environ
    drawn = adapting if whole else random.Random(seed).sample(adapting, ADAPTING_A_DAY)
    return [name for name in STRATEGIES if name in drawn or name not in adapting]


TRIED = tried()


def records(runs: Path) -> dict[str, dict]:
    found = [json.loads(file.read_text()) for file in (runs / "default").glob("*/run.json")]
    return {record["axes"]["strategy"]: record for record in found}


def assert_trained(record: dict) -> None:
    """A real run: every term of its loss is in the history and is a number, and weights were changed by it."""
    assert record["status"] == "finished", record["reason"]
    assert record["cost"]["samples"] >= (STEPS - 1) * 16
    solver = record["config"]["strategy"]["solver"]
    assert len(record["history"]) == len((solver or {}).get("penalties", [0]))
    for row in record["history"]:
        terms = [*(["task"] if record["data"]["labels_seen"] else []), *record["config"]["strategy"]["losses"]]
        assert all(isfinite(row[f"train/{name}_loss"]) for name in terms)
    assert 0 <= record["metrics"]["selected"]["test/accuracy"] <= 1
    parameters = record["cost"]["trainable_parameters"]
    # of a classifier on features the net has none
    assert (0 < parameters <= record["cost"]["total_parameters"]) == ("adapt" not in (solver or {})), parameters


@pytest.mark.slow
@pytest.mark.parametrize("strategy", TRIED)
def test_a_strategy_trains(every_strategy: dict[str, dict], strategy: str) -> None:
    if strategy in ELSEWHERE:
        pytest.skip(ELSEWHERE[strategy])
    assert strategy in every_strategy, "its run left no record"
    assert_trained(every_strategy[strategy])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "strategy", "source"),
    [("resnet18", "joint", DIGITS), ("vgg11_bn", "linear_probe", ["source=none"])],
    ids=["resnet18-joint", "vgg11_bn-linear_probe"],
)
def test_a_net_of_torchvision_trains(backbone: str, strategy: str, source: list[str], tmp_path: Path) -> None:
    net = [f"backbone={backbone}", "backbone.input.shape=[3,32,32]", f"strategy={strategy}"]
    assert cli.main(["train", *TINY, *source, *net, f"paths.runs={tmp_path}"]) == 0
    assert_trained(records(tmp_path)[strategy])
    shutil.rmtree(tmp_path / "default")  # half a gigabyte for each file of vgg's weights
