"""The page in a real browser, Debian's Chromium: it draws, sorts and filters, and asks nobody for anything."""

import importlib.util
import json
import shutil
import time
from dataclasses import replace

import pandas as pd
import pytest
from page_studies import BREAKOUT, BUDGETS, EPOCHS, HOSTILE, RULES, SEEDS, STRATEGIES, TARGETS, rich, smallest

from transferlab.compare import page
from transferlab.compare.foretold import COLUMNS

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ROWS = sum(len(rates) for *_, rates in STRATEGIES.values())
SETTINGS = len(TARGETS) * len(BUDGETS)
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "about:blank",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver on the path"),
    pytest.mark.skipif(importlib.util.find_spec("selenium") is None, reason="needs selenium: make install"),
]


class Tab:
    """A page that was opened, and what the browser says of it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, file, width=1280, scheme="light"):
        self.size(width)
        self.scheme(scheme)
        self.driver.get("about:blank")
        self.console(), self.requests()
        self.driver.get(file.as_uri())
        self.wait("document.documentElement.dataset.ready === 'true'")

    def size(self, width, height=900):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def js(self, expression, *arguments):
        return self.driver.execute_script(f"return {expression}", *arguments)

    def wait(self, condition):
        for _ in range(200):
            if self.js(condition):
                return
            time.sleep(0.05)
        raise AssertionError(f"never: {condition}")

    def all(self, selector, within=None):
        from selenium.webdriver.common.by import By

        return (within or self.driver).find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.all(selector)[0]

    def count(self, selector):
        return self.js("document.querySelectorAll(arguments[0]).length", selector)

    def texts(self, selector):
        return self.js("[...document.querySelectorAll(arguments[0])].map((node) => node.textContent)", selector)

    def choose(self, selector, value):
        self.driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
            self.one(selector),
            value,
        )

    def drawn(self, plot):
        """The marks of a plot, as the browser drew them."""
        return self.js("document.querySelector(arguments[0]).innerHTML", f"#plot-{plot} .cartesianlayer")

    def console(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """Addresses asked for since the last call; a picture in the page itself is none."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield Tab(driver)
    driver.quit()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    return rich(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def file(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "comparison.html"
    page.write(comparison, path)
    return path


@pytest.fixture
def opened(tab, file):
    """The rich page, afresh; after the test nothing was complained of and nothing asked for but the file."""
    tab.open(file)
    yield tab
    assert tab.console() == []
    assert tab.requests() == [file.as_uri()]


def test_it_renders_its_sections_and_a_row_for_each_strategy_of_each_setting(opened, comparison):
    assert opened.texts("h1") == ["made_up"]
    sections = ["Winners", "Table", "Plots", "Over all settings", "Selection rules"]
    sections += ["Scores of transferability", "Runs", "Left out", "How it was computed"]
    assert opened.texts("main > section > h2") == sections
    assert opened.count("#strategies table") == SETTINGS
    first = [text for text in opened.texts("#strategies table:first-of-type tbody th")[:ROWS]]
    assert first == comparison.table["strategy"][:ROWS].tolist()
    assert opened.count("#strategies tbody tr") == SETTINGS * ROWS
    assert "unreadable" in opened.texts("#left-out tbody tr")[0]


def test_the_table_shows_the_comparisons_numbers(opened, comparison):
    row = comparison.table.iloc[0]
    cells = opened.texts("#strategies tbody tr:first-child td")
    metric = comparison.metric
    assert cells[1] == row["rule"] == "last"
    assert cells[2] == metric.text(row["mean"]) + metric.interval(row["low"], row["high"])
    shown = metric.text(row["difference"], "+") + metric.interval(row["difference_low"], row["difference_high"], "+")
    assert cells[opened.texts("#strategies table thead th").index("difference to scratch [95 %]") - 1] == shown.replace(
        "-", MINUS
    )
    assert not any("bootstrap" in text for text in opened.texts("#strategies th"))  # three seeds give none
    assert "NaN" not in opened.js("document.body.innerText") and "undefined" not in opened.js("document.body.innerText")


def test_a_click_on_a_header_sorts_up_by_number_and_a_second_one_down(opened):
    names = opened.texts("#strategies table thead th")
    column = names.index("seconds")
    cells = f"#strategies .tabled:first-child tbody td:nth-child({column + 1})"

    def seconds():
        return [float(text) for text in opened.texts(cells)]

    head = f"#strategies .tabled:first-child thead th:nth-child({column + 1})"
    opened.one(f"{head} button").click()
    assert seconds() == [9.5, 10.5, 30.0, 100.0, 100.0]  # as words, 10.5 and 100.0 would stand before 9.5
    assert opened.one(head).get_attribute("aria-sort") == "ascending"
    opened.one(f"{head} button").send_keys("\ue007")  # the enter key
    assert seconds() == [100.0, 100.0, 30.0, 10.5, 9.5]
    assert opened.one(head).get_attribute("aria-sort") == "descending"
    assert opened.count("#strategies .tabled:first-child [aria-sort=descending]") == 1


@pytest.mark.parametrize("direction", [1, 2], ids=["ascending", "descending"])
def test_what_is_missing_stands_last_in_both_directions(opened, direction):
    column = opened.texts("#strategies table thead th").index("p, Holm") + 1
    for _ in range(direction):
        opened.one(f"#strategies .tabled:first-child thead th:nth-child({column}) button").click()
    assert opened.texts(f"#strategies .tabled:first-child tbody td:nth-child({column})")[-1] == DASH


def test_the_tables_are_filtered_by_words_and_by_setting(opened):
    opened.one("#strategies input[type=search]").send_keys("L2_sp 0.001")
    assert set(opened.texts("#strategies tbody th")) == {"l2_sp optimizer.lr=0.001"}
    assert opened.count("#strategies tbody tr") == SETTINGS
    opened.choose("#strategies select", "2")
    shown = [node for node in opened.all("#strategies .tabled") if node.is_displayed()]
    assert [node.find_element("tag name", "caption").text for node in shown] == [opened.js("data.settings[2]")]


def test_selection_rules_are_a_table_and_one_more_for_each_setting(opened, comparison):
    assert opened.count("#rules table") == 1 + SETTINGS
    assert opened.texts("#rules .tabled:nth-child(2) tbody th") == [*RULES]
    said = comparison.rule_quality.iloc[0]
    cells = opened.texts("#rules .tabled:nth-child(2) tbody tr:first-child td")
    gap = comparison.metric.text(said["gap"], "+").replace("-", MINUS)
    flagged = f"{said['collapsed']} of {said['runs_in_all']}"
    assert cells == [str(said["runs"]), f"{said['correlation']:.2f}", gap, flagged, DASH]  # there is no source_only
    assert opened.texts("#rules .tabled:nth-child(3) thead th") == ["strategy", *RULES, "oracle"]
    first = comparison.table["strategy"][:ROWS].tolist()
    assert opened.texts("#rules .tabled:nth-child(3) tbody th") == first
    means = comparison.rules[comparison.rules["strategy"] == first[0]]["mean"][: len(RULES) + 1]
    assert opened.texts("#rules .tabled:nth-child(3) tbody tr:first-child td") == [f"{100 * x:.1f}" for x in means]


def test_the_runs_are_paged_and_found_by_their_config(opened, comparison):
    assert opened.count("#runs tbody tr") == 50
    assert f"1 to 50 of {len(comparison.study.table)}" in opened.texts("#runs .pager")[0]
    opened.all("#runs .pager button")[1].click()
    assert "51 to " in opened.texts("#runs .pager")[0]
    opened.one("#runs input[type=search]").send_keys("optimizer.lr=0.001 target.labels=50 seed=2")
    assert opened.count("#runs tbody tr") == len(TARGETS)


MARKS = {
    "scores": (".points path", ROWS * SEEDS + ROWS),
    "differences": (".points path", ROWS - 1),
    "cost": (".points path", ROWS),
    "curves": (".js-line[style*='stroke-width: 2px']", ROWS),
    "timeline": (".heatmaplayer image", 1),
    "efficiency": (".points path", ROWS * len(BUDGETS)),
    "trials": (".points path", len(STRATEGIES) + 1),
    "honest": (".points path", 3 * ROWS),
    "diagnostics": (".points path", ROWS * 3),
    "ranks": (".points path", ROWS),
}


@pytest.mark.parametrize("plot", MARKS)
def test_every_plot_has_drawn_a_mark_for_each_of_its_numbers_and_has_them_as_text(opened, plot):
    selector, expected = MARKS[plot]
    assert opened.count(f"#plot-{plot} .cartesianlayer {selector}") == expected
    assert opened.js("document.querySelector(arguments[0]).clientHeight", f"#plot-{plot} .drawing") > 100
    opened.one(f"#plot-{plot} summary").click()
    opened.wait(f"document.querySelector('#plot-{plot} details table')")
    rows = EPOCHS if plot == "curves" else 3 if plot == "timeline" else len(STRATEGIES) if plot == "trials" else ROWS
    rows = {"differences": ROWS - 1, "diagnostics": ROWS * 3}.get(plot, rows)
    assert opened.count(f"#plot-{plot} details tbody tr") == rows


def test_there_is_no_plot_that_is_not_counted_above(opened):
    assert opened.js("[...document.querySelectorAll('figure')].map((one) => one.id)") == [
        f"plot-{name}" for name in MARKS
    ]


def test_the_paired_differences_have_a_line_at_zero(opened):
    assert opened.count("#plot-differences .zerolinelayer path") == 1


def test_the_numbers_under_the_learning_curves_are_the_bands(opened, comparison):
    opened.one("#plot-curves summary").click()
    opened.wait("document.querySelector('#plot-curves details table')")
    strategy = opened.texts("#plot-curves details thead th")[1]
    setting = tuple(comparison.table.iloc[0][["source", "target", "backbone"]])
    band = comparison.bands[(*setting, strategy)]["val/accuracy"]
    last = opened.texts("#plot-curves details tbody tr:last-child td")[0]
    mean, low, high = (f"{100 * value[-1]:.1f}" for value in (band.mean, band.low, band.high))
    assert last == f"{mean} [{low}, {high}]"


@pytest.mark.parametrize(
    ("plot", "select", "value", "says"),
    [
        ("cost", "#plot-cost select", "trainable_parameters", "trainable parameters"),
        ("curves", "#plot-curves select", "train/task_loss", "train/task_loss"),
        ("timeline", "#plot-timeline select", "linear_probe", "linear_probe"),
        ("diagnostics", "#plot-diagnostics select", "feature_rank", "feature rank"),
        ("efficiency", "#plot-efficiency select", "mnist5k → usps, convnet", ""),
        *(
            (plot, "#plots > .setting select", "3", "")
            for plot in ("scores", "differences", "cost", "curves", "honest")
        ),
    ],
)
def test_another_key_cost_strategy_or_setting_draws_another_plot(opened, plot, select, value, says):
    before = opened.drawn(plot)
    opened.choose(select, value)
    assert opened.drawn(plot) != before
    assert says in opened.one(f"#plot-{plot}").text


def test_a_frozen_stage_is_blank_in_the_timeline_and_frozen_in_its_numbers(opened):
    opened.choose("#plot-timeline select", "linear_probe")
    opened.one("#plot-timeline summary").click()
    opened.wait("document.querySelector('#plot-timeline details table')")
    rows = dict(zip(opened.texts("#plot-timeline tbody th"), opened.texts("#plot-timeline tbody tr"), strict=True))
    assert rows["stem"] == "stem" + "frozen" * EPOCHS
    assert rows["head"] == "head" + "0.01" * EPOCHS
    drawn = opened.js("document.querySelector('#plot-timeline .drawing').data[0].z")
    assert drawn[:2] == [[None] * EPOCHS] * 2 and None not in drawn[2]


def test_a_click_on_a_run_shows_its_config_and_its_curve(opened, comparison):
    button = opened.one("#runs button.open")
    run = comparison.study.runs[button.text]
    button.click()
    opened.wait("document.querySelector('#run .js-line')")
    assert opened.one("#run").get_attribute("open") is not None
    said = dict(zip(opened.texts("#run .config tbody th"), opened.texts("#run .config tbody td"), strict=True))
    assert said["optimizer.lr"] == str(run.config["optimizer.lr"])
    assert said["target.labels"] == str(run.config["target.labels"])
    assert "batch_size" not in said  # all have the same
    drawn = opened.js("Array.from(document.querySelector('#run .drawing').data[0].y)")
    assert drawn == pytest.approx((100 * run.curves.values["val/accuracy"]).tolist(), rel=1e-6)
    opened.one("#run .config summary").click()
    opened.wait("document.querySelector('#run .config details table')")
    keys = opened.texts("#run .config details tbody th")
    assert keys == sorted(run.config)
    opened.one("#run > .top button").click()
    assert not opened.one("#run").is_displayed()


def test_a_click_on_a_runs_dot_opens_it(opened):
    from selenium.webdriver import ActionChains

    dots = opened.all("#plot-scores .scatterlayer .trace:first-child path.point")
    opened.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", dots[0])
    ActionChains(opened.driver).move_to_element(dots[0]).pause(0.3).click().perform()
    opened.wait("document.getElementById('run').open")
    assert ", seed " in opened.one("#run-title").text


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_never_scrolls_sideways(tab, file, width):
    tab.open(file, width)
    for summary in tab.all("summary"):
        tab.driver.execute_script("arguments[0].click()", summary)
    tab.driver.execute_script("document.querySelector('#strategies input[type=checkbox]').click()")
    assert tab.js("document.documentElement.scrollWidth") <= width
    tab.driver.execute_script("document.querySelector('#runs button.open').click()")
    assert tab.js("document.getElementById('run').scrollWidth <= document.getElementById('run').clientWidth")
    assert tab.console() == []


def test_the_dark_scheme_changes_page_and_plots_and_the_switch_overrules_the_system(tab, file):
    def colours():
        tick = "getComputedStyle(document.querySelector('#plot-scores .ytick text')).fill"
        series = "getComputedStyle(document.querySelector('#plot-cost .trace:last-child path.point')).fill"
        return tab.js(f"[getComputedStyle(document.body).backgroundColor, {tick}, {series}]")

    tab.open(file)
    light = colours()
    tab.open(file, scheme="dark")
    dark = colours()
    assert all(one != other for one, other in zip(light, dark, strict=True))
    tab.choose("#theme", "light")
    assert colours() == light
    tab.choose("#theme", "dark")
    tab.scheme("light")
    assert colours() == dark
    assert tab.console() == []


def test_hostile_names_stay_text(opened):
    assert HOSTILE in opened.texts("#strategies tbody th")
    assert HOSTILE in opened.texts("#plot-scores .ytick text")
    opened.one("#runs input[type=search]").send_keys("alert(1)")
    opened.driver.execute_script("document.querySelector('#runs button.open').click()")
    opened.one("#run .config summary").click()
    opened.wait("document.querySelector('#run .config details table')")
    assert BREAKOUT in opened.texts("#run .config details td")
    assert opened.texts("#run-title") == [f"{HOSTILE}, seed 0"]
    assert opened.count("img") == 0 and opened.count("body script") == 4


def test_no_two_strategies_of_seventy_look_alike(opened):
    opened.driver.execute_script(
        "STRATEGIES.splice(0, STRATEGIES.length, ...Array.from({length: 70}, (_, at) => `s${at}`))"
    )
    styles = opened.js("STRATEGIES.map((name) => JSON.stringify(styleOf(name)))")
    assert len(set(styles)) == 70
    assert len(set(opened.js("STRATEGIES.slice(0, 8).map((name) => styleOf(name).colour)"))) == 8


def test_the_policy_stops_what_would_leave_the_file(tab, file):
    tab.open(file)
    for script in (
        "window.stopped = []",
        "addEventListener('securitypolicyviolation', (event) => stopped.push(event.violatedDirective))",
        "fetch('http://127.0.0.1:9/').catch(() => 0)",
        "window.picture = new Image(); picture.src = 'http://127.0.0.1:9/a.png'",
        "window.more = document.createElement('script'); more.textContent = 'window.ran = true'",
        "document.body.append(more)",
    ):
        tab.driver.execute_script(script)
    tab.wait("stopped.length === 3")
    assert sorted(tab.js("stopped")) == ["connect-src", "img-src", "script-src-elem"]
    assert not tab.js("window.ran")


def test_a_plot_is_saved_as_svg_without_a_server(tab, file, tmp_path):
    tab.open(file)
    tab.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    tab.driver.execute_script("document.querySelector('#plot-scores .save').click()")
    for _ in range(200):
        if saved := list(tmp_path.glob("*.svg")):
            break
        time.sleep(0.05)
    assert "linear_probe" in saved[0].read_text()
    assert tab.console() == []


def test_one_run_of_one_seed_without_a_history_has_sentences_where_nothing_can_be_drawn(tab, tmp_path):
    path = tmp_path / "one.html"
    page.write(smallest(tmp_path / "study"), path)
    tab.open(path)
    assert tab.count("#plot-scores .points path") == 2
    sentences = {
        "differences": "Nothing is paired with scratch here.",
        "curves": "The records have no history of their epochs.",
        "timeline": "The records of this setting do not say what it trained when.",
        "honest": "No run was measured by the oracle (oracle=true asks for it).",
        "diagnostics": "No run measured any diagnostics.",
    }
    for plot, sentence in sentences.items():
        assert tab.texts(f"#plot-{plot} p") == [sentence]
        assert tab.count(f"#plot-{plot} .cartesianlayer") == 0
    assert tab.texts("#rules p") == ["No run says what other rules would have chosen (rules=all asks for it)."]
    assert tab.texts("#foretold p")[0].startswith("No ranking of three or more")
    assert "Nothing: every record that was found is compared." in tab.texts("#left-out p")
    tab.one("#runs button.open").click()
    assert "The record has no history of its epochs." in tab.texts("#run figure p")
    assert "NaN" not in tab.js("document.body.innerText")
    assert tab.console() == [] and tab.requests() == [path.as_uri()]


def test_scores_of_transferability_are_a_table_for_each_target(tab, comparison, tmp_path):
    rows = [
        ("digits", "lp_ft", "logme", 0.9, 4),
        ("digits", "lp_ft", "leep", -0.25, 3),
        ("digits", "full_finetune", "logme", float("nan"), 4),
        ("usps", "lp_ft", "logme", 0.5, 4),
    ]
    told = replace(comparison, foretold=pd.DataFrame(rows, columns=list(COLUMNS)))
    page.write(told, tmp_path / "told.html")
    tab.open(tmp_path / "told.html")
    assert tab.count("#foretold table") == 2
    assert tab.texts("#foretold .tabled:nth-child(2) thead th") == ["score", "lp_ft", "full_finetune"]
    assert tab.texts("#foretold .tabled:nth-child(2) tbody th") == ["logme", "leep"]
    assert tab.texts("#foretold .tabled:nth-child(2) tbody td") == ["0.90 (4)", DASH, f"{MINUS}0.25 (3)", DASH]
    tab.one("#foretold .tabled:nth-child(2) thead th:nth-child(2) button").click()
    assert tab.texts("#foretold .tabled:nth-child(2) tbody th") == ["leep", "logme"]
    assert tab.console() == [] and tab.requests() == [(tmp_path / "told.html").as_uri()]
