"""What is composed once is what Hydra's own loader composes, however often and in whatever order it is asked for."""

import pickle
from pathlib import Path

import pytest
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from transferlab import cli, remembering, results
from transferlab.composing import Composer
from transferlab.folders import shipped
from transferlab.remembering import RememberingLoader

RUNS = (
    [],
    ["seed=2", "strategy=l2_sp"],
    ["strategy=l2_sp", "strategy.losses.l2_sp.weight=3", "seed=2"],
    ["strategy=l2_sp", "+strategy.tags=[a,b]", "seed='2'"],
    ["+strategy/loss@strategy.losses.more=l2_sp", "batch_size=8"],
    ["~trainer.threads", "optimizer=adam", "optimizer.lr=1e-3"],
    ["strategy={lr_decay: 0.5}", "seed=3"],
    ["+hydra.job.env_set={A: b}", "seed=3", "hydra.verbose=true"],
    ["seed=3", "hydra.verbose=true", "+hydra.job.env_set={A: b}"],
    ["paths.runs=${paths.data}/x", "study='a b'", "source.weights=null"],
    ["seed=1"],
)
SWEEPS = (["seed=0,1", "batch_size=8"], ["batch_size=8", "seed=0,1"], ["strategy=l2_sp,scratch", "seed=range(3)"])
WRONG = (
    ["strategy=l3_sp", "seed=1"],
    ["seed=1", "optimiser.lr=1"],
    ["trainer@x=default"],
    ["+strategy=l2_sp"],
    ["seed=1,2"],
    ["seed@x=1"],
    ["~seed=7"],
    ["batch_size={a: 1}", "batch_size.b=2"],
)


@pytest.fixture(autouse=True)
def hydra_1_3() -> None:
    version.setbase("1.3")
    GlobalHydra.instance().clear()


def loaders(*folders: Path) -> tuple[RememberingLoader, ConfigLoaderImpl]:
    path = create_config_search_path(str(shipped("conf")))
    for folder in folders:
        path.prepend("own", f"file://{folder}")
    return RememberingLoader(path), ConfigLoaderImpl(path)


def whole(config: DictConfig) -> tuple[str, bool | None, bool | None]:
    return OmegaConf.to_yaml(config), OmegaConf.is_struct(config), OmegaConf.is_readonly(config.hydra)


def test_a_config_is_that_of_hydras_own_loader() -> None:
    ours, hydras = loaders()
    for lines, mode in [(run, RunMode.RUN) for run in RUNS] + [(sweep, RunMode.MULTIRUN) for sweep in SWEEPS]:
        mine, theirs = (loader.load_configuration("train", list(lines), mode) for loader in (ours, hydras))
        for config in (mine, theirs):  # the one thing that may differ: the order in which Hydra's own are noted
            config.hydra.overrides.hydra = sorted(config.hydra.overrides.hydra)
        assert whole(mine) == whole(theirs), lines


def test_an_error_is_that_of_hydras_own_loader() -> None:
    for loader in loaders():
        loader.load_configuration("train", ["seed=1"], RunMode.RUN)
    ours, hydras = loaders()
    for lines in WRONG:
        told = []
        for loader in (ours, hydras):
            with pytest.raises((HydraException, ValueError)) as raised:
                loader.load_configuration("train", list(lines), RunMode.RUN)
            told.append((type(raised.value), str(raised.value), str(raised.value.__cause__)))
        assert told[0] == told[1], lines


def test_a_folder_named_on_the_command_line_is_searched(tmp_path: Path) -> None:
    (tmp_path / "flavour").mkdir()
    (tmp_path / "flavour" / "sweet.yaml").write_text("sugar: 1\n")
    ours, hydras = loaders()
    lines = [f"hydra.searchpath=[file://{tmp_path}]", "+flavour=sweet", "flavour.sugar=2"]
    mine, theirs = (loader.load_configuration("train", list(lines), RunMode.RUN) for loader in (ours, hydras))
    assert whole(mine) == whole(theirs)
    assert mine.flavour.sugar == 2


def test_writing_into_a_config_changes_no_other() -> None:
    loader, _ = loaders()
    first = loader.load_configuration("train", ["seed=1"], RunMode.RUN)
    before = OmegaConf.to_yaml(first)
    first.optimizer.lr = 99
    first.hydra.job.num = 3
    assert OmegaConf.to_yaml(loader.load_configuration("train", ["seed=1"], RunMode.RUN)) == before


def test_jobs_that_differ_in_single_values_are_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []
    compose = ConfigLoaderImpl._load_configuration_impl
    monkeypatch.setattr(
        ConfigLoaderImpl,
        "_load_configuration_impl",
        lambda self, name, lines, *rest: composed.append(list(lines)) or compose(self, name, lines, *rest),
    )
    loader, _ = loaders()
    master = loader.load_configuration("train", ["seed=0,1,2", "strategy=l2_sp,scratch"], RunMode.MULTIRUN)
    composed.clear()
    for _ in ("checked", "launched"):
        for seed in range(3):
            for strategy in ("l2_sp", "scratch"):
                config = loader.load_sweep_config(master, [f"seed={seed}", f"strategy={strategy}"])
                assert (config.seed, config.hydra.runtime.choices.strategy) == (seed, strategy)
    assert composed == [["strategy=l2_sp"], ["strategy=scratch"]]


def test_another_process_is_sent_no_memory() -> None:
    cloudpickle = pytest.importorskip("cloudpickle", reason="launchers of processes bring cloudpickle")
    loader, _ = loaders()
    empty = len(cloudpickle.dumps(loader))
    first = loader.load_configuration("train", ["seed=1"], RunMode.RUN)
    sent = cloudpickle.dumps(loader)
    assert len(sent) < empty + 100_000
    assert pickle.loads(sent).load_configuration("train", ["seed=1"], RunMode.RUN) == first


def test_a_yaml_of_the_users_goes_before_the_shipped_one_in_check_and_run(tmp_path: Path) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    own = (shipped("conf") / "optimizer" / "sgd.yaml").read_text().replace("nesterov: true", "nesterov: false")
    (tmp_path / "mine" / "optimizer" / "sgd.yaml").write_text(own)
    with Composer(config_dir=str(tmp_path / "mine")) as composer:
        assert composer.check([], multirun=False).config.optimizer.nesterov is False
    words = ["target=digits", "target.labels=6", "trainer.max_epochs=1", "trainer.accelerator=cpu", "source=none"]
    words += ["backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]", "tracker=none", f"paths.runs={tmp_path}/runs"]
    assert cli.main(["train", "--config-dir", str(tmp_path / "mine"), *words]) == 0
    (folder,) = (tmp_path / "runs" / "default").iterdir()
    assert results.read(folder) is not None
    assert OmegaConf.load(folder / "config.yaml").optimizer.nesterov is False


def test_a_long_check_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(remembering, "_SILENCE", -1.0)
    loader, _ = loaders()
    master = loader.load_configuration("train", ["seed=0,1"], RunMode.MULTIRUN)
    loader.expect(2)
    for seed in (0, 1, 0, 1):  # checked, then launched
        loader.load_sweep_config(master, [f"seed={seed}"])
    assert capsys.readouterr().err.splitlines() == ["checked 1 of 2 jobs", "checked 2 of 2 jobs"]
