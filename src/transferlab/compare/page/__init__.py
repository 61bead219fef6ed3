"""One HTML file that shows a whole comparison: it opens from disk, needs no network and can reach none."""

import base64
import hashlib
import html
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from string import Template

from transferlab.compare.comparison import Comparison
from transferlab.compare.page.data import data_of
from transferlab.files import write_text

# in the order in which they build on one another
_SCRIPTS = (
    "text",
    "table",
    "plot",
    "strategies",
    "scores",
    "course",
    "measured",
    "overall",
    "rules",
    "foretold",
    "runs",
    "main",
)


def write(comparison: Comparison, path: Path) -> None:
    """Write the comparison as a page with sortable tables, interactive plots and every run.

    Args:
        comparison: what it shows.
        path: of the file; its folder must be there.

    Raises:
        InputError: it cannot be written.
    """
    write_text(path, page(comparison))


def page(comparison: Comparison) -> str:
    """The page's text: plotly.js, our own scripts and the data, all inline, under a policy that forbids connections.

    Scripts run by their hash alone, so nothing that a name in the data smuggles in could.
    """
    from plotly.offline import get_plotlyjs

    # a hash is taken of what the browser reads, in which a line ends in one way
    plotly, script = get_plotlyjs().replace("\r\n", "\n"), "".join(_part(f"{name}.js") for name in _SCRIPTS)
    values, floats = data_of(comparison)
    return Template(_part("page.html")).substitute(
        plotly=plotly,
        script=script,
        hashes=" ".join(f"'sha256-{_hash(text)}'" for text in (plotly, script)),
        style=_part("page.css"),
        data=_inert(json.dumps(values, allow_nan=False, separators=(",", ":"))),
        floats=floats,
        title=html.escape(f"{comparison.study.name}: {comparison.metric.name}"),
        study=html.escape(comparison.study.name),
        facts=html.escape(_facts(comparison)),
        winners="".join(_winner(*item) for item in comparison.winners.items()),
        notes=_notes(comparison),
        metric=html.escape(comparison.metric.name),
        baseline=html.escape(comparison.baseline),
    )


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inert(text: str) -> str:
    """JSON in which nothing can end or open an element: a name may hold `</script>` or `<!--`."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _facts(comparison: Comparison) -> str:
    study = comparison.study
    settings, runs = len(comparison.winners), len(study.table)
    kinds = Counter(item.kind for item in study.left_out)
    left = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
    return ". ".join(
        (
            f"{comparison.metric.label}, {'more' if comparison.metric.sign > 0 else 'less'} is better",
            f"{runs:,} {'run' if runs == 1 else 'runs'} in {settings} {'setting' if settings == 1 else 'settings'}",
            f"{len(study.left_out):,} left out ({left})." if left else "None left out.",
        )
    )


def _winner(setting: str, paragraph: str) -> str:
    name = html.escape(setting.replace(" -> ", " → "))
    return f"<div><h3>{name}</h3>\n<p>{html.escape(paragraph)}</p></div>\n"


def _notes(comparison: Comparison) -> str:
    if not comparison.notes:
        return ""
    items = "".join(f"<li>{html.escape(note)}</li>\n" for note in comparison.notes)
    return f'<h3>To mind</h3>\n<ul class="notes">\n{items}</ul>\n'
