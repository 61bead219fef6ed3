import csv
import re
import subprocess
import sys
from io import StringIO

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from transferlab import cli
from transferlab.compare import report
from transferlab.compare.records import load
from transferlab.compare.table import summarise

METRIC = "test/accuracy"
SCORES = {"scratch": [0.50, 0.56, 0.53], "l2_sp": [0.71, 0.70, 0.78]}


@pytest.fixture
def study(tmp_path, write_run):
    for strategy, scores in SCORES.items():
        for seed, score in enumerate(scores):
            write_run(strategy, seed, score, source="mnist", parameters=12345)
    return load([tmp_path / "runs"], METRIC)


def in_percent(values, sign=""):
    """`mean [low, high]` of values in [0, 1], written out."""
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    mean, low, high = (f"{100 * value:{sign}.1f}" for value in (np.mean(values), low, high))
    return f"{mean} [{low}, {high}]"


def cells(table, strategy, metric=METRIC):
    (row,) = [row for _, row in table.iterrows() if row["strategy"] == strategy]
    return report.cells(row, metric, "scratch")


def test_shares_are_shown_in_percent_and_differences_with_their_sign(study):
    table = summarise(study.runs, "scratch")
    found = cells(table, "l2_sp")
    assert found["test/accuracy % [95 %]"] == in_percent(SCORES["l2_sp"])
    differences = np.subtract(SCORES["l2_sp"], SCORES["scratch"])
    assert found["difference to scratch [95 %]"] == in_percent(differences, "+")
    assert found["seeds"] == "3"
    assert found["trainable"] == "12,345"
    assert cells(table, "scratch")["difference to scratch [95 %]"] == "baseline"


def test_a_loss_is_no_percentage(tmp_path, study):
    table = summarise(load([tmp_path / "runs"], "test/loss").runs, "scratch")
    found = cells(table, "scratch", "test/loss")
    assert found["test/loss [95 %]"].startswith("0.4700 [")  # 1 - (0.50 + 0.56 + 0.53) / 3


def test_one_seed_says_so_in_place_of_an_interval(tmp_path, write_run):
    write_run("scratch", 0, 0.5)
    write_run("l2_sp", 0, 0.75)
    write_run("other", 1, 0.9)
    table = summarise(load([tmp_path], METRIC).runs, "scratch")
    assert cells(table, "l2_sp")["test/accuracy % [95 %]"] == "75.0 [one seed]"
    assert cells(table, "l2_sp")["difference to scratch [95 %]"] == "+25.0 [one seed]"
    assert cells(table, "other")["difference to scratch [95 %]"] == "no common seed"


def test_markdown_has_one_row_a_strategy_and_a_heading_a_setting(tmp_path, study, write_run):
    write_run("scratch", 0, 0.4, target="usps")
    table = summarise(load([tmp_path], METRIC).runs, "scratch")
    text = report.markdown(table, METRIC, "scratch")
    lines = text.splitlines()
    assert re.findall(r"^## (.*)$", text, re.M) == ["mnist -> digits, convnet", "none -> usps, convnet"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    rows = [row for row in rows if set(row) != {"---"}]
    heads = [row for row in rows if row[0] == "strategy"]
    assert [row[0] for row in rows if row not in heads] == ["l2_sp", "scratch", "scratch"]
    assert len({len(row) for row in rows}) == 1
    assert rows[1][2] == in_percent(SCORES["l2_sp"])
    assert "paired by seed" in text


def test_the_terminal_shows_what_markdown_shows(study):
    table = summarise(study.runs, "scratch")
    console = Console(width=200, record=True, file=StringIO())
    report.show(table, METRIC, "scratch", console)
    shown = console.export_text()
    for strategy in SCORES:
        assert all(value in shown for value in cells(table, strategy).values())


def test_a_variants_brackets_are_shown_as_they_are(tmp_path, write_run):
    for stages in ("[head]", "[bold]"):  # to rich the second is an order
        write_run(config={"strategy": {"stages": stages}})
    table = summarise(load([tmp_path], METRIC).runs, "scratch strategy.stages=[head]")
    console = Console(width=200, record=True, file=StringIO())
    report.show(table, METRIC, "scratch", console)
    assert "strategy.stages=[bold]" in console.export_text()


def test_csv_holds_the_numbers_to_the_last_digit(tmp_path, study):
    table = summarise(study.runs, "scratch")
    paths = report.write(table, study.runs, METRIC, "scratch", tmp_path / "out")
    with open(paths["numbers"], newline="") as file:
        again = list(csv.DictReader(file))
    assert list(again[0]) == list(table.columns)
    for before, after in zip(table.to_dict("records"), again, strict=True):
        for name, value in before.items():
            if pd.isna(value):
                assert after[name] == "", name
            else:
                assert type(value)(after[name]) == value, name


def test_the_picture_can_be_read_and_shows_something(tmp_path, study):
    table = summarise(study.runs, "scratch")
    paths = report.write(table, study.runs, METRIC, "scratch", tmp_path / "out")
    assert set(paths) == {"table", "numbers", "plot"}
    image = matplotlib.image.imread(paths["plot"])
    height, width, _ = image.shape
    assert width == 1500  # 10 inches at 150 dots
    assert height > 200
    assert image[..., :3].std() > 0.01


def test_the_picture_draws_every_run_and_every_interval_where_it_is(tmp_path, study, monkeypatch):
    from matplotlib import pyplot

    kept = []
    monkeypatch.setattr(pyplot, "close", kept.append)
    table = summarise(study.runs, "scratch")
    report.plot(table, study.runs, METRIC, "scratch", tmp_path / "plot.png")
    monkeypatch.undo()
    left, right = kept[0].axes
    dots = sorted(x for line in left.lines if line.get_color() == "0.7" for x in line.get_xdata())
    assert dots == sorted(score for scores in SCORES.values() for score in scores)
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["scratch", "l2_sp"]  # from the bottom: the best on top
    differences = np.subtract(SCORES["l2_sp"], SCORES["scratch"])
    interval = stats.ttest_rel(SCORES["l2_sp"], SCORES["scratch"]).confidence_interval(0.95)
    (bar,) = [collection for collection in right.collections if len(collection.get_segments()) == 1]
    (segment,) = bar.get_segments()
    assert segment[:, 0] == pytest.approx([interval.low, interval.high])
    assert segment[:, 1] == pytest.approx([1, 1])
    assert differences.mean() in [pytest.approx(line.get_xdata()[0]) for line in right.lines]
    pyplot.close(kept[0])


def test_the_picture_of_one_seed_and_several_settings_can_be_drawn(tmp_path, write_run):
    write_run("scratch", 0, 0.5)
    write_run("scratch", 0, 0.6, target="usps")
    write_run("l2_sp", 1, 0.7, target="usps")
    study = load([tmp_path], METRIC)
    report.plot(summarise(study.runs, "scratch"), study.runs, METRIC, "scratch", tmp_path / "plot.png")
    assert matplotlib.image.imread(tmp_path / "plot.png").size


def test_the_command_prints_the_table_the_left_out_and_where_things_lie(tmp_path, write_run, study, capsys):
    bad = write_run("l2_sp", 7, 0.99, source="mnist", status="diverged", reason="NaN in epoch 3")
    assert cli.main(["compare", "--runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert in_percent(SCORES["l2_sp"]) in out
    assert f"left out: {bad}: diverged: NaN in epoch 3" in out
    for file in ("comparison.md", "comparison.csv", "comparison.png"):
        assert str(tmp_path / "runs" / "s" / file) in out
        assert (tmp_path / "runs" / "s" / file).stat().st_size
    assert "Fewer than 3 seeds" not in out


def test_the_command_says_that_two_seeds_conclude_nothing(tmp_path, write_run, capsys):
    for seed in (0, 1):
        write_run("scratch", seed, 0.5 + seed / 10)
    assert cli.main(["compare", str(tmp_path / "runs" / "s"), "--out", str(tmp_path / "out")]) == 0
    assert "Fewer than 3 seeds" in capsys.readouterr().out
    assert (tmp_path / "out" / "comparison.md").exists()
    assert not (tmp_path / "runs" / "s" / "comparison.md").exists()


@pytest.mark.parametrize("words", [["nope"], ["--baseline", "skratch"], ["--metric", "test/f1"]])
def test_a_wrong_word_to_the_command_is_one_sentence(words, tmp_path, study, capsys):
    assert cli.main(["compare", *words, "--runs", str(tmp_path / "runs")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("transferlab: there is no ")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs" / "s" / "comparison.md").exists()


def test_a_comparison_is_made_without_torch(tmp_path, study):
    script = (
        "import sys; from transferlab import cli; code = cli.main(sys.argv[1:]);"
        "heavy = {'torch', 'torchvision', 'pytorch_lightning', 'wandb'} & sys.modules.keys();"
        "sys.exit(f'imported: {heavy}' if heavy else code)"
    )
    command = [sys.executable, "-c", script, "compare", "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
