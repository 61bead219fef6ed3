"""What the page's file holds, read without a browser."""

import base64
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from page_studies import BREAKOUT, HOSTILE, rich, smallest

from transferlab.compare import page
from transferlab.compare.page import curves
from transferlab.compare.settings import SETTING
from transferlab.errors import InputError

TABLES = ("table", "verdicts", "honest", "rules", "diagnostics")
WIDER = ("overall", "rule_quality", "trials", "efficiency")
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Elements with their attributes and texts; the tags must nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open and self.open.pop()[0] == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open:
            self.open[-1][2].append(data)

    def all(self, tag):
        return [(attributes, "".join(texts)) for name, attributes, texts in self.elements if name == tag]

    def by_id(self, wanted):
        return next("".join(texts) for _, attributes, texts in self.elements if attributes.get("id") == wanted)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    return rich(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def read(comparison):
    reader = Reader(page.page(comparison))
    assert not reader.open
    return reader


@pytest.fixture(scope="module")
def embedded(read):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(read.by_id("data"), parse_constant=refuse)


@pytest.fixture(scope="module")
def floats(read):
    return np.frombuffer(base64.b64decode(read.by_id("floats")), "<f4")


def test_ids_are_unique_and_links_inside_the_page_lead_somewhere(read):
    ids = [attributes["id"] for _, attributes, _ in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"].removeprefix("#") for attributes, _ in read.all("a")]
    assert links and set(links) <= set(ids)


def test_the_page_says_its_language_and_its_headings_skip_no_level(read):
    assert read.all("html")[0][0]["lang"] == "en"
    levels = [int(tag[1]) for tag, *_ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_no_element_asks_for_another_file(read):
    asking = [(tag, at) for tag, at, _ in read.elements if {"src", "data", "action", "srcset"} & set(at)]
    assert asking == []
    assert [at["href"] for at, _ in read.all("link")] == ["data:,"]
    assert not re.search(r"@import|url\(", read.all("style")[0][1])


def test_the_policy_forbids_connections_and_runs_the_inline_scripts_alone_by_their_hash(read):
    policy = dict(
        part.split(" ", 1)
        for part in next(at["content"] for at, _ in read.all("meta") if "http-equiv" in at).split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert "connect-src" not in policy
    scripts = [text for at, text in read.all("script") if "type" not in at]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    assert policy["script-src"].split() == [f"'sha256-{value}'" for value in hashes]


def test_names_of_the_data_are_text_in_the_markup_and_inert_in_the_json(comparison, read, embedded):
    text = page.page(comparison)
    assert HOSTILE not in text and BREAKOUT not in text
    assert "<" not in read.by_id("data")
    assert HOSTILE in embedded["table"]["strategy"]
    assert embedded["configs"]["shared"]["note"] == BREAKOUT
    assert len(read.all("script")) == 4 and not read.all("img")


@pytest.mark.parametrize("name", TABLES + WIDER)
def test_every_table_is_embedded_with_the_comparisons_own_numbers(comparison, embedded, name):
    frame, found = getattr(comparison, name), embedded[name]
    wider = name in WIDER
    for column in frame.columns if wider else frame.columns.drop(SETTING):
        for own, other in zip(frame[column], found[column], strict=True):
            missing = own is None or own != own or own in (np.inf, -np.inf)
            assert other in (None, "inf", "-inf") if missing else own == other, (column, own, other)
    if not wider:
        named = [f"{row.source} → {row.target}, {row.backbone}" for row in frame.itertuples()]
        assert [embedded["settings"][number] for number in found["setting"]] == named


def test_every_run_is_embedded_with_its_score_and_place(comparison, embedded):
    runs, found = comparison.study.table, embedded["runs"]
    assert found["run_id"] == runs["run_id"].tolist()
    assert found["score"] == runs["score"].tolist()
    assert found["strategy"] == runs["strategy"].tolist()


def test_every_runs_config_can_be_put_together_again(comparison, embedded):
    configs = embedded["configs"]
    for at, name in enumerate(embedded["runs"]["run_id"]):
        varying = {
            key: part["values"][part["of"][at]] for key, part in configs["varying"].items() if part["of"][at] >= 0
        }
        assert {**configs["shared"], **varying} == comparison.study.runs[name].config
    assert not set(configs["shared"]) & set(configs["varying"])


def test_a_config_value_is_told_from_an_equal_one_of_another_kind(comparison):
    from transferlab.compare.page.configs import configs_of

    runs = list(comparison.study.runs.values())[:3]
    for run, value in zip(runs, (1, 1.0, True), strict=True):
        run.config["kind"] = value
    try:
        found = configs_of(runs)["varying"]["kind"]
    finally:
        for run in runs:
            del run.config["kind"]
    assert [type(value) for value in found["values"]] == [int, float, bool]


def test_every_runs_curves_can_be_read_from_the_block(comparison, embedded, floats):
    part = embedded["curves"]
    assert part["thinned"] is None
    for at, name in enumerate(embedded["runs"]["run_id"]):
        expected, start = comparison.study.runs[name].curves, part["start"][at]
        layout = part["layouts"][part["of"][at]]
        assert [part["keys"][key] for key, _ in layout] == list(expected.values)
        for key, grid in layout:
            epochs, values = part["epochs"][grid], expected.values[part["keys"][key]]
            assert epochs == expected.epochs[~np.isnan(values)].tolist()
            np.testing.assert_allclose(floats[start : start + len(epochs)], values[~np.isnan(values)], rtol=1e-6)
            start += len(epochs)


def test_bands_and_timelines_can_be_read_from_the_block(comparison, embedded, floats):
    settings = list(dict.fromkeys(comparison.table[SETTING].itertuples(index=False, name=None)))
    bands = embedded["bands"]
    assert len(bands["list"]) == sum(map(len, comparison.bands.values()))
    for setting, strategy, key, grid, start, runs in bands["list"]:
        band, size = comparison.bands[(*settings[setting], strategy)][key], len(bands["epochs"][grid])
        mean, width = floats[start : start + size], floats[start + size : start + 2 * size]
        np.testing.assert_allclose(mean, band.mean, rtol=1e-6)
        np.testing.assert_allclose(mean - width, band.low, atol=1e-6)
        np.testing.assert_allclose(mean + width, band.high, atol=1e-6)
        assert (np.broadcast_to(runs, size) == band.runs).all()
    for one in embedded["timelines"]:
        timeline = comparison.timelines[(*settings[one["setting"]], one["strategy"])]
        rates = floats[one["start"] : one["start"] + timeline.rates.size].reshape(timeline.rates.shape)
        np.testing.assert_allclose(rates, timeline.rates, rtol=1e-6)
        assert len(one["epochs"]) == timeline.rates.shape[1]


def test_with_too_many_values_a_run_keeps_three_curves_that_judge_it_and_both_ends_of_each(comparison, monkeypatch):
    monkeypatch.setattr(curves, "_WHOLE", 10)
    monkeypatch.setattr(curves, "_MOST_POINTS", 4)
    runs, block = list(comparison.study.runs.values()), curves.Floats()
    found = curves.curves_of(runs, "test/accuracy", block)
    assert found["thinned"] == {"points": 4, "keys": 3}
    for layout in found["layouts"]:
        keys = [found["keys"][key] for key, _ in layout]
        assert keys[:2] == ["val/accuracy", "train/task_loss"] and len(keys) == 3
        epochs = found["epochs"][layout[0][1]]
        assert (epochs[0], epochs[-1], len(epochs)) == (0, 7, 4)


def test_what_was_left_out_is_embedded_with_its_reason(comparison, embedded):
    assert embedded["left_out"] == [[item.where, item.kind, item.reason] for item in comparison.study.left_out]
    assert len(embedded["left_out"]) == 1


def test_the_paragraphs_and_notes_stand_in_the_page_itself(comparison, read):
    texts = ["".join(texts) for tag, _, texts in read.elements if tag in ("p", "li")]
    assert set(comparison.winners.values()) <= set(texts)
    assert set(comparison.notes) <= set(texts)


def test_a_single_run_makes_a_page(tmp_path):
    reader = Reader(page.page(smallest(tmp_path)))
    assert json.loads(reader.by_id("data"))["runs"]["strategy"] == ["scratch"]
    assert not reader.open


def test_the_page_is_written_whole_or_refused_in_a_sentence(comparison, tmp_path):
    page.write(comparison, tmp_path / "comparison.html")
    assert (tmp_path / "comparison.html").read_text(encoding="utf-8") == page.page(comparison)
    with pytest.raises(InputError, match="cannot write to"):
        page.write(comparison, tmp_path / "no folder" / "comparison.html")


def luminance(colour):
    """WCAG 2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_their_ground(scheme):
    style = files("transferlab.compare.page").joinpath("page.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colours = {name: both[scheme] for name, *both in pairs}
    for ground in (colours["page"], colours["raised"]):
        for name in ("text", "muted", "accent"):
            assert contrast(colours[name], ground) >= 4.5, name
    for name in ("edge", "dot", "mean", "difference", *(f"series-{number}" for number in range(8))):
        assert contrast(colours[name], colours["page"]) >= 3, name
