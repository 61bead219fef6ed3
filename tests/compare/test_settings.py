import pytest

from transferlab.compare.comparison import analyse
from transferlab.compare.records import load
from transferlab.errors import InputError


def table(tmp_path, *by):
    return load([tmp_path], None, by or ("strategy",)).table


def test_rows_by_a_config_key_are_its_values(tmp_path, write_run):
    for lr in (0.01, 0.1):
        for seed in (0, 1):
            write_run("l2_sp", seed, lr + seed, config={"optimizer": {"lr": lr}})
    found = table(tmp_path, "optimizer.lr")
    assert set(found["strategy"]) == {"0.01", "0.1"}
    assert set(found["method"]) == {"l2_sp"}
    assert sorted(found.loc[found["strategy"] == "0.1", "score"]) == pytest.approx([0.1, 1.1])


def test_by_a_config_key_other_strategies_are_other_settings(tmp_path, write_run):
    for strategy in ("scratch", "l2_sp"):
        for lr in (0.01, 0.1):
            write_run(strategy, config={"optimizer": {"lr": lr}})
    found = table(tmp_path, "optimizer.lr")
    assert found.groupby("target")["method"].unique().map(list).tolist() == [["l2_sp"], ["scratch"]]


def test_by_an_axis_what_it_is_made_of_makes_no_setting(tmp_path, write_run):
    for source, weights in (("mnist", "a.pt"), ("svhn", "b.pt")):
        write_run("l2_sp", source=source, config={"source": {"weights": weights, "data": source}})
    found = table(tmp_path, "source")
    assert set(found["strategy"]) == {"mnist", "svhn"}
    assert set(found["source"]) == {"any"}
    assert set(found["target"]) == {"digits strategy=l2_sp"}


def test_by_a_part_its_own_settings_belong_to_it_unless_they_vary_within_a_row(tmp_path, write_run):
    heads = [{"_target_": "linear"}, {"_target_": "cosine", "scale": 5.0}, {"_target_": "cosine", "scale": 10.0}]
    for seed, head in enumerate(heads[:2]):
        write_run(seed=seed, config={"task": {"head": head}})
    found = table(tmp_path, "task.head._target_")
    assert set(found["strategy"]) == {"linear", "cosine"} and found["target"].nunique() == 1
    write_run(seed=2, config={"task": {"head": heads[2]}})
    found = table(tmp_path, "task.head._target_")
    assert found.loc[found["strategy"] == "cosine", "target"].nunique() == 2


def test_rows_by_two_keys_name_both(tmp_path, write_run):
    for lr in (0.01, 0.1):
        for strategy in ("scratch", "l2_sp"):
            write_run(strategy, config={"optimizer": {"lr": lr}})
    assert set(table(tmp_path, "strategy", "optimizer.lr")["strategy"]) == {
        f"strategy={strategy} optimizer.lr={lr}" for strategy in ("scratch", "l2_sp") for lr in (0.01, 0.1)
    }


def test_an_unknown_key_to_compare_by_is_named_with_the_nearest(tmp_path, write_run):
    write_run()
    with pytest.raises(InputError, match=r"'optimiser.lr'; did you mean 'optimizer.lr'"):
        table(tmp_path, "optimiser.lr")


def test_every_output_of_a_comparison_by_a_key_can_be_made(tmp_path, write_run):
    for lr in (0.01, 0.1):
        for seed in range(3):
            write_run("l2_sp", seed, 0.5 + lr + seed / 100, config={"optimizer": {"lr": lr}})
    found = analyse(load([tmp_path], None, ("optimizer.lr",)), "0.01", ("optimizer.lr",))
    assert found.baseline == "0.01"
    assert found.table.set_index("strategy")["difference"]["0.1"] == pytest.approx(0.09)
    assert found.verdicts.empty
    assert found.trials.empty


@pytest.mark.parametrize("key", ["diagnostics", "oracle", "twins", "tracker", "workers", "study", "cache"])
def test_what_is_only_measured_or_kept_beside_makes_no_variant(key, tmp_path, write_run):
    values = {
        "diagnostics": ({"cka": None}, {"cka": {"every": 1}}),
        "tracker": ({"mode": "a"}, {"mode": "b"}),
        "cache": ({"use": "off", "dtype": "bfloat16", "views": 0}, {"use": "on", "dtype": "float32", "gigabytes": 3}),
    }
    for seed, value in enumerate(values.get(key, (False, True))):
        write_run("l2_sp", seed, config={key: value})
    found = table(tmp_path)
    assert set(found["strategy"]) == {"l2_sp"}
    assert set(found["target"]) == {"digits"}
    assert len(found) == 2


@pytest.mark.parametrize("cache", [{"use": "on", "dtype": "bfloat16"}, {"use": "off", "views": 2}])
def test_what_of_the_cache_changes_numbers_makes_a_variant_beside_runs_that_knew_none(cache, tmp_path, write_run):
    write_run("l2_sp", 0)
    write_run("l2_sp", 0, config={"cache": cache})
    assert len(set(table(tmp_path)["strategy"])) + len(set(table(tmp_path)["target"])) == 3


def test_a_switch_of_diagnostics_makes_no_second_run_of_a_seed(tmp_path, write_run):
    write_run("l2_sp", 0, 0.5, config={"diagnostics": {"cka": None}})
    write_run("l2_sp", 0, 0.5, config={"diagnostics": {"cka": {"every": 1}}})
    study = load([tmp_path], None)
    assert len(study.table) == 1
    assert [item.kind for item in study.left_out] == ["duplicate"]


def test_the_label_budget_makes_settings_and_the_rate_of_one_strategy_its_variants(tmp_path, write_run):
    for labels in (5, 10):
        for lr in (0.01, 0.1):
            write_run("l2_sp", config={"target": {"labels": labels}, "optimizer": {"lr": lr}})
        write_run("scratch", config={"target": {"labels": labels}, "optimizer": {"lr": 0.01}})
    found = table(tmp_path)
    assert set(found["target"]) == {"digits target.labels=5", "digits target.labels=10"}
    assert set(found["strategy"]) == {"scratch", "l2_sp optimizer.lr=0.01", "l2_sp optimizer.lr=0.1"}
    assert len(found) == 6


def test_a_key_of_the_strategy_makes_variants_even_where_every_strategy_varies_in_it(tmp_path, write_run):
    for strategy in ("l2_sp", "joint"):
        for decay in (0.5, 1.0):
            write_run(strategy, config={"strategy": {"lr_decay": decay}})
    found = table(tmp_path)
    assert set(found["target"]) == {"digits"}
    assert set(found["strategy"]) == {f"{s} strategy.lr_decay={d}" for s in ("l2_sp", "joint") for d in (0.5, 1.0)}
