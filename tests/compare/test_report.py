"""The terminal, Markdown, LaTeX and CSV, against the raw records and the grammar of each."""

import csv
import re
import shutil
import subprocess
import sys
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from transferlab.compare import report
from transferlab.compare.comparison import analyse
from transferlab.compare.markdown import escaped as plain_markdown
from transferlab.compare.records import load
from transferlab.errors import InputError

METRIC = "test/accuracy"
SCORES = {"scratch": [0.50, 0.56, 0.53], "l2_sp": [0.71, 0.70, 0.78]}
HOSTILE = (
    "[bold]x[/bold]",
    "a|b",
    "$x_1$",
    "50% & #1 {~^}\\",
    "<b>_it_</b>",
    "![a](b)",
    "*",
    "[head]",
    "日本語",
    "'\"`",
)


@pytest.fixture
def comparison(tmp_path, write_run):
    for strategy, scores in SCORES.items():
        for seed, score in enumerate(scores):
            write_run(strategy, seed, score, source="mnist", parameters=12345, history=history(score))
    return analyse(load([tmp_path / "runs"], METRIC))


@pytest.fixture
def hostile(tmp_path, write_run):
    for at, name in enumerate(("scratch", *HOSTILE)):
        for seed in range(3):
            write_run(name, seed, 0.5 + at / 50 + seed / 100, source="$#_%", history=history(0.5))
    write_run("failed", 0, 0.1, status="failed", reason="[red]a|b[/red] \\end{table}")
    return analyse(load([tmp_path / "runs"], METRIC))


def history(score):
    return [
        {"epoch": epoch, "val/accuracy": score * epoch / 3, "trainable": ["head"], "lr": {"head": 0.1 / (epoch + 1)}}
        for epoch in range(3)
    ]


def shown(comparison, width, **more):
    console = Console(width=width, file=StringIO(), **more)
    report.show(comparison, console)
    return console.file.getvalue()


def in_percent(values, sign=""):
    """`mean [low, high]` of values in [0, 1], written out."""
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    mean, low, high = (f"{100 * value:{sign}.1f}" for value in (np.mean(values), low, high))
    return f"{mean} [{low}, {high}]"


def markdown_tables(text):
    """Tables as lists of cells a line; a backslash takes a bar its meaning."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] if line.startswith("|") else None for line in text.splitlines()]
    tables, table = [], []
    for line in [*lines, None]:
        if line is not None:
            table.append([cell.strip() for cell in line])
        elif table:
            tables.append(table)
            table = []
    return tables


def latex_rows(text):
    """The rows of each tabular, cut at the ampersands that no backslash precedes."""
    for aligned, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.S):
        lines = [
            line for line in body.splitlines() if not line.strip().startswith(("\\toprule", "\\midrule", "\\bott"))
        ]
        yield aligned, [re.split(r"(?<!\\)&", line.strip().removesuffix("\\\\")) for line in lines]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_terminal_cuts_no_number_whatever_its_width(comparison, width):
    text = shown(comparison, width)
    assert in_percent(SCORES["l2_sp"]) in text
    assert in_percent(SCORES["scratch"]) in text
    assert in_percent(np.subtract(SCORES["l2_sp"], SCORES["scratch"]), "+") in text
    assert "transfers" in text
    assert "…" not in text
    if width >= 80:
        assert max(map(len, text.splitlines())) <= width


def test_a_narrow_terminal_says_which_columns_it_does_without(tmp_path, write_run):
    for strategy in ("scratch", "l2_sp_with_a_name_of_forty_letters_or_so"):
        for seed in range(3):
            write_run(strategy, seed, 0.5 + seed / 100, seconds=98765.4)
    comparison = analyse(load([tmp_path], METRIC))
    wide, narrow = shown(comparison, 200), shown(comparison, 80)
    assert "98,765" in wide
    assert "Not shown" not in wide
    assert "98,765" not in narrow
    assert "Not shown for want of width, but in comparison.md: rule, seconds" in narrow


def test_verdicts_are_coloured_and_the_same_words_without_colour(comparison):
    coloured = shown(comparison, 200, force_terminal=True, color_system="standard", no_color=False)
    assert "\x1b[1;32mtransfers" in coloured
    assert "\x1b" not in shown(comparison, 200)
    assert "transfers" in shown(comparison, 200)


def test_rich_reads_no_orders_in_names(hostile):
    text = shown(hostile, 200)
    for name in HOSTILE:
        assert name in text
    assert "[red]a|b[/red]" in text


def test_left_out_are_counted_and_the_first_three_of_each_kind_named(tmp_path, write_run):
    write_run("scratch", 99, 0.5)
    failed = sorted(str(write_run("l2_sp", seed, 0.5, status="failed", reason=f"no {seed}")) for seed in range(5))
    diverged = write_run("l2_sp", 9, 0.5, status="diverged", reason="NaN")
    text = shown(analyse(load([tmp_path], METRIC)), 80)
    assert "Left out: 6 records; left_out.csv names all of them." in text
    assert "failed: 5" in text
    assert [name in text for name in failed] == [True] * 3 + [False] * 2
    assert "and 2 more" in text
    assert "diverged: 1" in text
    assert f"{diverged}: NaN" in text


def test_winners_and_notes_are_told(comparison):
    for text in (shown(comparison, 4000), report.markdown(comparison)):
        for setting, words in comparison.winners.items():
            assert setting in text
            assert plain_markdown(words) in text or words in text
        assert comparison.notes
        assert all(note in text for note in comparison.notes)


def test_markdown_has_a_heading_a_setting_and_well_formed_tables(tmp_path, comparison, write_run):
    write_run("scratch", 0, 0.4, target="usps")
    text = report.markdown(analyse(load([tmp_path], METRIC)))
    (summary,) = re.findall(r"^## Summary\n(.*?)^## ", text, re.M | re.S)
    assert re.findall(r"^### (.*)$", summary, re.M) == ["mnist -> digits, convnet", "none -> usps, convnet"]
    for table in markdown_tables(text):
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch(":---|---:", cell) for cell in table[1])
    first = markdown_tables(summary)[0]
    assert [row[0] for row in first] == ["strategy", ":---", "l2_sp", "scratch"]
    assert first[2][2] == "last"
    assert first[2][3] == in_percent(SCORES["l2_sp"])
    assert first[2][4] == in_percent(np.subtract(SCORES["l2_sp"], SCORES["scratch"]), "+")
    assert "## How it is computed" in text


def test_markdown_links_the_pictures_that_are_written_and_says_which_are_not(tmp_path, comparison):
    written = report.write(comparison, tmp_path / "out")
    text = written["report"].read_text()
    linked = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert sorted(linked) == sorted(name for name in written if name.endswith(".png"))
    assert all((tmp_path / "out" / name).stat().st_size for name in linked)
    assert "- ranks: fewer than three settings or strategies" in text
    assert "- oracle: no run measured the oracle" in text


def test_hostile_names_stay_in_their_cells_of_markdown(hostile):
    text = report.markdown(hostile)
    for table in markdown_tables(text):
        assert len({len(row) for row in table}) == 1
    assert not re.search(r"(?<!\\)<[A-Za-z/]", text)
    assert not re.search(r"(?<!\\)\]\(", text.partition("## Pictures")[0])
    for line in text.splitlines():
        if line.startswith("|"):
            assert not re.search(r"(?<!\\)[$*`]", line)


def test_latex_rows_have_as_many_cells_as_the_tabular_columns(comparison, hostile):
    for found in (comparison, hostile):
        text = report.latex(found)
        tables = list(latex_rows(text))
        assert len(tables) == found.table.groupby(["source", "target", "backbone"]).ngroups
        for aligned, rows in tables:
            assert {len(row) for row in rows} == {len(aligned)}
        for name in ("toprule", "midrule", "bottomrule", "caption", "label"):
            assert text.count(f"\\{name}") == len(tables)


def test_latex_has_balanced_braces_and_no_special_letter_of_a_name(hostile):
    text = report.latex(hostile)
    body = re.sub(r"\\[\\{}%$&#_]", "", text)
    depth = 0
    for letter in re.sub(r"(?m)%.*$", "", body):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert r"\$x\_1\$" in text
    assert r"50\% \& \#1 \{\textasciitilde{}\textasciicircum{}\}\textbackslash{}" in text
    assert r"$\rightarrow$" in text
    assert "->" not in text
    assert all(letter.isascii() for letter in text)
    # after the end of a row, a bracket would be read as its argument
    assert not re.search(r"\\\\\s*[\[*]", text)
    assert "end{table}" not in re.sub(r"(?m)^\\end\{table\}$", "", text)


def test_latex_shows_the_numbers_of_the_records_with_a_minus_for_a_sign(comparison, tmp_path, write_run):
    (_, rows), = latex_rows(report.latex(comparison))  # fmt: skip
    strip = str.maketrans({"{": "", "}": "", "$": ""})
    cells = [[cell.strip().translate(strip) for cell in row] for row in rows]
    assert cells[1][0] == r"l2\_sp"
    assert in_percent(SCORES["l2_sp"]) in cells[1]
    assert in_percent(np.subtract(SCORES["l2_sp"], SCORES["scratch"]), "+") in cells[1]
    assert "transfers" in cells[1]
    for seed in range(3):
        write_run("worse", seed, 0.3 - seed / 50, study="t")
        write_run("scratch", seed, 0.5, study="t")
    assert "$-$22.0" in report.latex(analyse(load([tmp_path / "runs" / "t"], METRIC)))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex with booktabs and graphicx")
def test_latex_compiles(tmp_path, hostile):
    text = report.latex(hostile)
    (tmp_path / "doc.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}" + text + "\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "doc.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "doc.pdf").stat().st_size


def test_csv_holds_every_number_to_the_last_digit(tmp_path, comparison):
    paths = report.write(comparison, tmp_path / "out")
    frames = {
        "table": comparison.table,
        "verdicts": comparison.verdicts,
        "honest": comparison.honest,
        "diagnostics": comparison.diagnostics,
        "runs": comparison.study.table,
    }
    for name, frame in frames.items():
        with open(paths[name], newline="") as file:
            again = list(csv.DictReader(file))
        assert len(again) == len(frame)
        for before, after in zip(frame.to_dict("records"), again, strict=True):
            assert list(after) == list(frame.columns)
            for key, value in before.items():
                if pd.isna(value):
                    assert after[key] == "", key
                else:
                    assert (after[key] == str(value)) or type(value)(after[key]) == value, key


def test_the_main_csv_holds_what_the_raw_scores_give(tmp_path, comparison):
    table = pd.read_csv(report.write(comparison, tmp_path / "out")["table"])
    row = table.set_index("strategy").loc["l2_sp"]
    differences = np.subtract(SCORES["l2_sp"], SCORES["scratch"])
    interval = stats.ttest_rel(SCORES["l2_sp"], SCORES["scratch"]).confidence_interval(0.95)
    assert row["mean"] == pytest.approx(np.mean(SCORES["l2_sp"]), rel=1e-12)
    assert row["difference"] == pytest.approx(differences.mean(), rel=1e-12)
    assert [row["difference_low"], row["difference_high"]] == pytest.approx([interval.low, interval.high], rel=1e-9)


def test_curves_are_written_in_long_form_to_the_last_digit(tmp_path, comparison):
    # as text first: a reader of pandas may round
    frame = pd.read_csv(report.write(comparison, tmp_path / "out")["curves"], dtype=str)
    frame = frame.astype({"epoch": int, "mean": float, "low": float, "high": float, "runs": int})
    assert list(frame) == ["source", "target", "backbone", "strategy", "key", "epoch", "mean", "low", "high", "runs"]
    assert len(frame) == 2 * 3  # strategies, epochs
    for (strategy, epoch), part in frame.groupby(["strategy", "epoch"]):
        values = [score * epoch / 3 for score in SCORES[strategy]]
        assert part["mean"].item() == pytest.approx(np.mean(values), abs=1e-15)
        if epoch:
            low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
            assert [part["low"].item(), part["high"].item()] == pytest.approx([low, high], rel=1e-9)
        assert part["runs"].item() == 3
    band = next(iter(comparison.bands.values()))["val/accuracy"]
    own = frame[frame["strategy"] == next(iter(comparison.bands))[3]]
    assert own["mean"].tolist() == band.mean.tolist()
    assert own["high"].tolist() == band.high.tolist()


def test_frames_without_rows_have_their_heads_so_that_no_older_rows_stay(tmp_path, comparison):
    out = tmp_path / "out"
    out.mkdir()
    (out / "left_out.csv").write_text("where,kind,reason\nold,failed,\n")
    paths = report.write(comparison, out)
    assert paths["left_out"].read_text() == "where,kind,reason\n"
    assert paths["trials"].read_text().count("\n") == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, comparison):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        report.write(comparison, tmp_path / "file" / "out")


def test_hostile_names_and_reasons_come_back_from_csv(tmp_path, hostile):
    paths = report.write(hostile, tmp_path / "out")
    table = pd.read_csv(paths["table"], keep_default_na=False)
    assert set(table["strategy"]) == {"scratch", *HOSTILE}
    assert set(pd.read_csv(paths["curves"])["strategy"]) == {"scratch", *HOSTILE}
    assert pd.read_csv(paths["left_out"])["reason"].tolist() == ["[red]a|b[/red] \\end{table}"]


@pytest.mark.parametrize(
    "runs",
    [
        {"one run": [("scratch", 0, "digits")]},
        {"one seed": [("scratch", 0, "digits"), ("l2_sp", 0, "digits")]},
        {
            "no common seed": [("scratch", seed, "digits") for seed in (0, 1)]
            + [("l2_sp", seed, "digits") for seed in (2, 3)]
        },
        {"no baseline": [("scratch", 0, "digits"), ("l2_sp", 0, "usps"), ("linear_probe", 0, "usps")]},
        {"unlike strategies": [("scratch", 0, "digits"), ("l2_sp", 0, "usps"), ("bitfit", 0, "svhn")]},
    ],
    ids=lambda runs: next(iter(runs)),
)
@pytest.mark.parametrize("metric", ["test/accuracy", "test/loss"])
@pytest.mark.parametrize(
    "past", [[], [{"epoch": 0, "val/accuracy": None, "train/task_loss": None}]], ids=["none", "nan"]
)
def test_poor_studies_are_shown_and_written(tmp_path, write_run, runs, metric, past):
    for strategy, seed, target in next(iter(runs.values())):
        write_run(strategy, seed, 0.5 + seed / 10, target=target, history=past)
    comparison = analyse(load([tmp_path], metric))
    text, paths = shown(comparison, 80), report.write(comparison, tmp_path / "out")
    assert "Fewer than 3 seeds: nothing can be concluded from" in text
    assert not re.search(r"\b(nan|None)\b", text)
    assert all(path.stat().st_size for path in paths.values())
    told = paths["report"].read_text()
    assert "- curves: no record has a history" in told
    assert "- timeline: no record says what trained when" in told


def test_a_report_is_made_without_torch_and_without_pyplot(tmp_path, comparison):
    script = (
        "import sys; from pathlib import Path; from transferlab.compare import report;"
        "from transferlab.compare.comparison import analyse; from transferlab.compare.records import load;"
        "report.write(analyse(load([Path(sys.argv[1])], None)), Path(sys.argv[2]));"
        "heavy = {'torch', 'pytorch_lightning', 'wandb', 'matplotlib.pyplot'} & sys.modules.keys();"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "runs"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "scores.png").exists()
