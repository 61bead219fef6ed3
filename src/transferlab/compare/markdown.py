"""The whole comparison as Markdown, as GitHub reads it."""

import re

from transferlab.compare.comparison import Comparison
from transferlab.compare.plots import PICTURES, drawable
from transferlab.compare.sheets import HEADINGS, Sheet, sheets
from transferlab.compare.wording import one_line

METHOD = (
    "Runs with the same seed form a block. Scores are those of the epoch that the selection rule chose. "
    "Means over seeds carry Student's 95 % interval with n - 1 degrees of freedom; from five seeds on, a "
    "studentised bootstrap interval stands beside it.",
    "Differences to the baseline are taken within each seed, and their mean carries Student's interval of these "
    "differences, not corrected. Their p is that of the exact permutation test of signs (up to 12 pairs; 9,999 random "
    "ones beyond), with Wilcoxon's signed-rank test beside it, both by Holm's correction over the strategies of a "
    "setting.",
    "A verdict compares a strategy with its twin: the same seeds, budget and data without the transfer. Its interval "
    "is widened for all verdicts of the setting (Bonferroni). All of it better than 0: transfers; all of it "
    "worse: harms; else: no evidence, which is not evidence of no effect.",
    "Costs are means of a run; the pretraining of a source is not among them.",
)
"""How it is computed, a paragraph each."""
# A backslash takes their meaning from these wherever they stand; the rest only means something in some places.
_ALWAYS = re.compile(r"([\\`*$|~])")
_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def markdown(comparison: Comparison) -> str:
    """The report: winners, what to mind, every sheet, the pictures, and how all of it is computed."""
    study, drawn = comparison.study, drawable(comparison)
    said = f"{len(study.runs):,} runs, {comparison.metric.label}, differences to {comparison.baseline}."
    parts = [f"# Comparison of {escaped(study.name)}", escaped(said)]
    parts += [f"**{escaped(setting)}**: {escaped(words)}" for setting, words in comparison.winners.items()]
    parts += ["\n".join(f"- {escaped(note)}" for note in comparison.notes)] * bool(comparison.notes)
    topic = ""
    for sheet in sheets(comparison):
        if sheet.name != topic:
            topic = sheet.name
            parts += [f"## {HEADINGS[topic]}", escaped(_common(sheet))]
        # a sheet of all settings is titled as its topic is
        parts += [f"### {escaped(sheet.title)}"] * (sheet.title != HEADINGS[topic])
        parts += [table(sheet)]
        if (own := sheet.note.removeprefix(_common(sheet)).strip()) and own != sheet.note:
            parts += [escaped(own)]
    parts += ["## Pictures", *(f"![{PICTURES[name].title}]({name}.png)" for name in drawn)]
    missing = [f"- {name}: {picture.missing}" for name, picture in PICTURES.items() if name not in drawn]
    parts += ["Not drawn:", "\n".join(missing)] if missing else []
    return "\n\n".join([*parts, "## How it is computed", *METHOD]) + "\n"


def table(sheet: Sheet) -> str:
    """A sheet as a table; words to the left, numbers to the right."""
    aligned = [":---" if _is_words([row[at] for row in sheet.rows]) else "---:" for at in range(len(sheet.columns))]
    lines = [list(map(escaped, sheet.columns)), aligned, *(list(map(escaped, row)) for row in sheet.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: object) -> str:
    """Words that mean nothing but themselves: no tag, link, emphasis, formula or end of a cell."""
    found = _ALWAYS.sub(r"\\\1", one_line(text))
    found = _UNDERSCORE.sub(r"\\_", found)
    # `<` before a blank or a digit opens no tag, and `]` before another letter than `(`, `[` or `:` ends no link
    found = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", found)
    found = re.sub(r"\](?=[(\[:])", r"\\]", found)
    return re.sub(r"&(?=#?\w+;)", r"\\&", found)


def _common(sheet: Sheet) -> str:
    """What a note says of all settings of a topic."""
    return sheet.note.partition(" No verdict on ")[0]


def _is_words(cells: list[str]) -> bool:
    return not any(re.match(r"[+-]?\d|< 0|> 1", cell) for cell in cells)
