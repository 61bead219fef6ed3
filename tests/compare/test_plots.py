"""The pictures hold the numbers of the records, in artists that can be told apart without colour."""

import io
import re
from itertools import product
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from scipy import stats

from transferlab.compare import plots
from transferlab.compare.comparison import analyse
from transferlab.compare.plots import canvas
from transferlab.compare.records import load
from transferlab.compare.wording import folded

METRIC = "test/accuracy"
STRATEGIES = ("scratch", "linear_probe", "l2_sp")
EPOCHS, SEEDS = 4, range(4)
RNG = np.random.default_rng(3)
SCORES = {name: 0.4 + 0.1 * at + RNG.normal(0, 0.02, len(SEEDS)) for at, name in enumerate(STRATEGIES)}
SECONDS = {"scratch": 30.0, "linear_probe": 10.0, "l2_sp": 40.0}


def history(strategy, seed):
    rows = []
    for epoch in range(EPOCHS):
        trains = ["block1", "head"] if strategy != "linear_probe" else ["head"]
        rate = 0.1 / 10**epoch
        lr = {"backbone/block1": rate if "block1" in trains else 0.0, "head": rate}
        rows.append({"epoch": epoch, "val/accuracy": curve(strategy, seed)[epoch], "trainable": trains, "lr": lr})
    return rows


def curve(strategy, seed):
    return SCORES[strategy][seed] * np.arange(1, EPOCHS + 1) / EPOCHS


def write_study(write_run, targets=("digits",)):
    for target, strategy, seed in product(targets, STRATEGIES, SEEDS):
        score = SCORES[strategy][seed]
        epoch = {"epoch": 1, "val/accuracy": score, "test/accuracy": score}
        oracle = {"rule": "oracle", "epoch": 0, "test/accuracy": score + 0.01 * (seed + 1)}
        metrics = {"selected": {"rule": "last", **epoch}, "last": epoch, "oracle": oracle}
        cost = {"seconds": SECONDS[strategy], "trainable_parameters": 10, "total_parameters": 20}
        write_run(strategy, seed, target=target, metrics=metrics, cost=cost, history=history(strategy, seed))


@pytest.fixture
def comparison(tmp_path, write_run):
    write_study(write_run)
    return analyse(load([tmp_path], METRIC))


def student(values):
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def lines(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def the_line(axes, label):
    (line,) = lines(axes, label)
    return line


def segments(axes):
    """Intervals, by their number beside the axis they do not run along."""
    (found,) = [collection for collection in axes.collections if collection.get_label() == "intervals"]
    return np.array(found.get_segments())


def test_scores_draw_every_run_every_mean_and_every_paired_difference(comparison):
    left, right = plots.draw(comparison, "scores").axes
    dots = the_line(left, "runs").get_xdata()
    assert sorted(dots) == pytest.approx(sorted(100 * np.concatenate(list(SCORES.values()))))
    intervals = {round(line[0][1], 6): sorted(line[:, 0]) for line in segments(left)}
    for name in STRATEGIES:
        marker = the_line(left, name)
        assert marker.get_xdata() == pytest.approx([100 * SCORES[name].mean()])
        assert intervals[round(marker.get_ydata()[0], 6)] == pytest.approx(100 * np.array(student(SCORES[name])))
    intervals = {round(line[0][1], 6): sorted(line[:, 0]) for line in segments(right)}
    assert not lines(right, "scratch")
    for name in STRATEGIES[1:]:
        differences, marker = SCORES[name] - SCORES["scratch"], the_line(right, name)
        assert marker.get_xdata() == pytest.approx([100 * differences.mean()])
        assert intervals[round(marker.get_ydata()[0], 6)] == pytest.approx(100 * np.array(student(differences)))


def test_each_dot_lies_in_the_row_of_its_strategy_and_the_best_row_is_on_top(comparison):
    left, _ = plots.draw(comparison, "scores").axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["l2_sp", "linear_probe", "scratch"]
    low, high = left.get_ylim()
    assert low > high  # the first row on top
    dots = the_line(left, "runs")
    for name, height in zip(names, left.get_yticks(), strict=True):
        own = np.abs(dots.get_ydata() - height) < 0.1
        assert sorted(dots.get_xdata()[own]) == pytest.approx(sorted(100 * SCORES[name]))


def test_curves_are_means_over_seeds_with_the_band_of_the_interval(comparison):
    (axes,) = plots.draw(comparison, "curves").axes
    (bands,) = [collection for collection in axes.collections if collection.get_label() == "bands"]
    areas = {to_hex(colour[:3]): path for colour, path in zip(bands.get_facecolors(), bands.get_paths(), strict=True)}
    for name in STRATEGIES:
        values, line = 100 * np.array([curve(name, seed) for seed in SEEDS]), the_line(axes, name)
        assert list(line.get_xdata()) == list(range(EPOCHS))
        assert line.get_ydata() == pytest.approx(values.mean(0))
        area = areas[to_hex(line.get_color())].vertices
        for epoch in range(EPOCHS):
            bounds = area[area[:, 0] == epoch][:, 1]
            assert [bounds.min(), bounds.max()] == pytest.approx(student(values[:, epoch]))
    assert axes.get_ylabel() == "val/accuracy %"


def test_the_timeline_is_empty_where_a_stage_is_frozen_and_shows_its_rate_where_not(comparison):
    (axes,) = plots.draw(comparison, "timeline").axes
    images = {image.get_label(): image for image in axes.images}
    for name in STRATEGIES:
        rates = images[name].get_array()
        assert rates.shape == (2, EPOCHS)  # block1, head
        assert rates[1].filled(np.nan) == pytest.approx([0.1, 0.01, 0.001, 0.0001])
        assert np.ma.getmaskarray(rates)[0].all() == (name == "linear_probe")
    words = [text.get_text() for text in axes.texts]
    assert words.count("block1") == words.count("head") == 1
    assert {*STRATEGIES} <= {*words}


def test_cost_draws_each_mean_at_its_price_and_joins_what_nothing_beats_for_less(comparison):
    (axes,) = plots.draw(comparison, "cost").axes  # seconds; no run counted FLOPs
    intervals = {line[0][0]: sorted(line[:, 1]) for line in segments(axes)}
    for name in STRATEGIES:
        marker = the_line(axes, name)
        assert marker.get_xdata() == pytest.approx([SECONDS[name]])
        assert marker.get_ydata() == pytest.approx([100 * SCORES[name].mean()])
        assert intervals[SECONDS[name]] == pytest.approx(100 * np.array(student(SCORES[name])))
    # scratch is dearer than the linear probe and worse
    assert list(the_line(axes, "front").get_xdata()) == [SECONDS["linear_probe"], SECONDS["l2_sp"]]


def test_the_oracle_gap_is_what_the_records_say(comparison):
    (axes,) = plots.draw(comparison, "oracle").axes
    for name, line in zip(STRATEGIES, segments(axes), strict=False):
        assert the_line(axes, name).get_xdata() == pytest.approx([2.5])  # the mean of 1, 2, 3, 4 %
        assert sorted(line[:, 0]) == pytest.approx(student([1, 2, 3, 4]))


def test_ranks_are_drawn_where_they_are_and_cliques_join_them(tmp_path, write_run):
    write_study(write_run, ("digits", "usps", "svhn", "kmnist", "mnist"))
    comparison = analyse(load([tmp_path], METRIC))
    (axes,) = plots.draw(comparison, "ranks").axes
    at = {name: lines(axes, name)[0].get_xdata()[0] for name in STRATEGIES}
    # l2_sp is first, the linear probe second, scratch third everywhere: equally far apart on the line
    assert at["linear_probe"] - at["l2_sp"] == pytest.approx(at["scratch"] - at["linear_probe"])
    unit = at["linear_probe"] - at["l2_sp"]
    long = np.diff(the_line(axes, "critical difference").get_xdata())
    # Nemenyi's q for three strategies is 2.343 (Demsar 2006, table 5)
    assert long / unit == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 5)), rel=1e-3)
    # ranks 1, 2 and 3 with a difference of 1.482: each is joined with its neighbour alone
    joined = [("l2_sp", "linear_probe"), ("linear_probe", "scratch")]
    cliques = [list(line.get_xdata()) for line in lines(axes, "clique")]
    assert cliques == [pytest.approx([at[best], at[worst]], abs=0.06) for best, worst in joined]
    words = " ".join(text.get_text() for text in axes.texts)
    for name, rank in zip(("l2_sp", "linear_probe", "scratch"), (1, 2, 3), strict=True):
        assert f"{name} ({rank}.00)" in words


def test_labels_and_trials_make_lines(tmp_path, write_run):
    for labels, seed in product((10, 5), SEEDS):
        write_run("scratch", seed, 0.4 + labels / 100, config={"target": {"labels": labels}})
        for at, weight in enumerate((0.1, 1.0)):
            config = {"target": {"labels": labels}, "strategy": {"losses": {"l2_sp": {"weight": weight}}}}
            write_run("l2_sp", seed, 0.5 + at / 10 + labels / 100, config=config)
    comparison = analyse(load([tmp_path], METRIC))
    (axes,) = plots.draw(comparison, "efficiency").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "10"]
    assert the_line(axes, "scratch").get_ydata() == pytest.approx([45, 50])
    assert the_line(axes, "scratch").get_xdata() == pytest.approx([0, 1], abs=0.2)
    for axes in plots.draw(comparison, "tuning").axes:
        best, worst = (75, 65) if "10" in title_of(axes) else (70, 60)
        tuned = the_line(axes, "l2_sp").get_ydata()
        # the best of two draws from two is the better one with 3 in 4
        expected = [(worst - 5 + best - 5) / 2, 0.25 * (worst - 5) + 0.75 * (best - 5)]
        assert np.diff(tuned) == pytest.approx(np.diff(expected))
        assert the_line(axes, "equal").get_xdata()[0] == 1  # scratch had one trial


def title_of(axes):
    at = axes.figure.axes.index(axes)
    return [text.get_text() for text in axes.figure.texts if "->" in text.get_text()][at]


def test_png_can_be_read_and_svg_holds_the_names_as_words(comparison):
    found = dict(plots.images(comparison, plots.drawable(comparison)))
    assert set(found) == {f"{name}.{kind}" for name in plots.drawable(comparison) for kind in ("png", "svg")}
    for name, content in found.items():
        if name.endswith(".png"):
            image = matplotlib.image.imread(io.BytesIO(content))
            assert image.shape[1] == canvas.WIDTH * plots.DOTS_PER_INCH
            assert image[..., :3].std() > 0.01
        else:
            words = words_of(content)
            assert set(STRATEGIES) <= set(words), name


def words_of(svg):
    return [
        "".join(node.itertext()).strip()
        for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_the_same_numbers_give_the_same_files(comparison):
    first, again = (
        dict(plots.images(comparison, plots.drawable(comparison))),
        dict(plots.images(comparison, plots.drawable(comparison))),
    )
    assert all(again[name] == content for name, content in first.items() if name.endswith(".svg"))


def test_settings_of_matplotlib_stay_the_users(comparison):
    before = dict(matplotlib.rcParams)
    list(plots.images(comparison, plots.drawable(comparison)))
    assert dict(matplotlib.rcParams) == before


def test_looks_differ_in_colour_and_marker_beyond_any_study():
    looks = canvas.looks([f"strategy_{number}" for number in range(84)])
    assert len({(look.colour, look.marker) for look in looks.values()}) == 84
    first = list(looks.values())[:12]
    assert len({look.marker for look in first}) == 12  # told apart without any colour


@pytest.mark.parametrize(
    "name", ["$x_1$ {", "_hidden", "<b>&amp;\"'", "l2_sp strategy.losses.l2_sp.weight=0.01", "日本語"]
)
def test_names_are_drawn_as_they_are(tmp_path, write_run, name, recwarn):
    for strategy, seed in product(("scratch", name), range(3)):
        past = [{"epoch": 0, "val/accuracy": 0.5, "trainable": ["head"], "lr": {"head": 0.1}}]
        write_run(strategy, seed, 0.5 + seed / 10, history=past)
    comparison = analyse(load([tmp_path], METRIC))
    for file, content in plots.images(comparison, plots.drawable(comparison)):
        if file.endswith(".svg"):
            words = words_of(content)
            # broken over lines, a name is still all there
            parts = [words for words in (folded(name, width) for width in range(10, 60))]
            assert any(all(part in words for part in lines) for lines in parts), (file, words)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_more_strategies_than_can_be_told_apart_leave_the_worst_but_the_baseline_out(tmp_path, write_run):
    for at in range(20):
        past = [{"epoch": epoch, "val/accuracy": 0.1 * epoch, "trainable": [], "lr": {}} for epoch in range(2)]
        write_run(f"strategy_{at:02d}" if at else "scratch", 0, 0.3 + at / 50, history=past)
    comparison = analyse(load([tmp_path], METRIC))
    figure = plots.draw(comparison, "curves")
    drawn = {line.get_label() for line in figure.axes[0].lines}
    assert drawn == {"scratch", *(f"strategy_{at:02d}" for at in range(9, 20))}
    assert any("8 strategies more" in text.get_text() for text in figure.texts)
    rows = [label.get_text() for label in plots.draw(comparison, "scores").axes[0].get_yticklabels()]
    assert len(rows) == 20


def test_more_settings_than_fit_are_said_to_be_missing(tmp_path, write_run):
    for at in range(14):
        write_run("scratch", 0, 0.3, target=f"t{at:02d}", history=[{"epoch": 0, "val/accuracy": 0.5}])
    figure = plots.draw(analyse(load([tmp_path], METRIC)), "curves")
    assert len(figure.axes) == canvas.MOST_SETTINGS
    assert any("2 panels more" in text.get_text() for text in figure.texts)


def test_nothing_overlaps_in_rows_of_long_names(tmp_path, write_run):
    for weight, seed in product((0.001, 0.01, 0.1), range(3)):
        write_run("l2_sp", seed, 0.5 + weight, config={"strategy": {"losses": {"l2_sp": {"weight": weight}}}})
    figure = plots.draw(analyse(load([tmp_path], METRIC)), "scores")
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
    assert all(box.x0 >= 0 for box in boxes)
    assert all(not one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])


@pytest.mark.parametrize("metric", ["test/accuracy", "test/loss"])
def test_one_run_without_a_history_is_drawn(tmp_path, write_run, metric):
    write_run("scratch", 0, 0.5)
    comparison = analyse(load([tmp_path], metric))
    assert plots.drawable(comparison) == ["scores", "cost"]
    left, right = plots.draw(comparison, "scores").axes
    assert the_line(left, "scratch").get_xdata() == pytest.approx([50 if metric == "test/accuracy" else 0.5])
    assert [text.get_text() for text in right.texts] == ["nothing to pair"]
    assert len(dict(plots.images(comparison, plots.drawable(comparison)))) == 4


def test_epochs_that_measured_nothing_are_gaps_not_errors(tmp_path, write_run):
    for seed in range(2):
        past = [
            {"epoch": 0, "val/accuracy": None},
            {"epoch": 1, "val/accuracy": 0.5 + seed},
            {"epoch": 2, "val/accuracy": 1.0},
        ]
        write_run("scratch", seed, 0.5, history=past)
    (axes,) = plots.draw(analyse(load([tmp_path], METRIC)), "curves").axes
    assert list(the_line(axes, "scratch").get_xdata()) == [1, 2]
    assert the_line(axes, "scratch").get_ydata() == pytest.approx([100, 100])


def test_where_less_is_better_the_front_goes_down(tmp_path, write_run):
    for strategy, score, seconds in (("cheap", 0.5, 1.0), ("dear", 0.8, 5.0), ("worse", 0.4, 3.0)):
        write_run(strategy, 0, score, seconds=seconds)
    (axes,) = plots.draw(analyse(load([tmp_path], "test/loss")), "cost").axes
    front = the_line(axes, "front")
    assert list(front.get_xdata()) == [1, 5]
    assert front.get_ydata() == pytest.approx([0.5, 0.2])


def test_every_picture_says_what_it_shows_and_why_it_may_be_missing():
    for name, picture in plots.PICTURES.items():
        assert re.fullmatch("[a-z]+", name)
        assert picture.title
        assert picture.missing
