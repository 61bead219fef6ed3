"""Tables for a paper: LaTeX with booktabs, one a setting."""

import re

from transferlab.compare.comparison import Comparison
from transferlab.compare.sheets.rules import rule_quality, rules
from transferlab.compare.sheets.scores import AGAINST, summary
from transferlab.compare.sheets.sheet import Sheet
from transferlab.compare.verdicts import FEWEST_SEEDS
from transferlab.compare.wording import one_line

_HEAD = "% Written by `transferlab compare`. Needs \\usepackage{booktabs,graphicx} in the preamble.\n"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    '"': r"''",
    "`": r"{`}",
    # after the end of a row, `[` and `*` would belong to it
    "[": r"{[}",
    "]": r"{]}",
    "*": r"{*}",
}
_TOKENS = re.compile(r"->|(?<!\w)-(?=\d)|[\\_%&#${}~^<>|\"`\[\]*]")


def latex(comparison: Comparison) -> str:
    r"""One table a setting: scores, differences to the baseline, p and the verdict against scratch; selection rules.

    The tables are made to be read with `\input`; they need the packages booktabs and graphicx.
    """
    told = [(sheet, _caption(comparison)) for sheet in summary(comparison)]
    told += [(sheet, sheet.note) for sheet in (*rules(comparison), *rule_quality(comparison))]
    return _HEAD + "\n".join(_table(sheet, at, caption) for at, (sheet, caption) in enumerate(told, 1))


def escaped(text: object) -> str:
    """Words that mean nothing but themselves; `->` is an arrow, and a number's sign is a minus."""
    return "".join(map(_letter, _TOKENS.sub(lambda found: _sign(found[0]), one_line(text))))


def _sign(token: str) -> str:
    return {"->": r"$\rightarrow$", "-": "$-$"}.get(token) or _SPECIAL[token]


def _letter(letter: str) -> str:
    """A letter that every LaTeX with the fonts it starts with can set; another is its number in Unicode."""
    known = letter.isascii() or ("À" <= letter <= "ÿ" and letter not in "ÐðÞþ")
    return letter if known else rf"\texttt{{U+{ord(letter):04X}}}"


def _table(sheet: Sheet, number: int, caption: str) -> str:
    left = ("strategy", "rule", AGAINST)
    kept = [at for at, head in enumerate(sheet.columns) if head != "seconds"]
    aligned = "".join("l" if sheet.columns[at] in left else "r" for at in kept)
    rows = [[escaped(row[at]) for at in kept] for row in (sheet.columns, *sheet.rows)]
    lines = [f"  {' & '.join(cells)} \\\\" for cells in rows]
    body = "\n".join([r"  \toprule", lines[0], r"  \midrule", *lines[1:], r"  \bottomrule"])
    return rf"""
\begin{{table}}
\centering
\caption{{{escaped(sheet.title)}. {escaped(caption)}}}
\label{{tab:comparison-{number}}}
% no wider than the text, whatever the strategies are called
\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{%
\begin{{tabular}}{{{aligned}}}
{body}
\end{{tabular}}}}
\end{{table}}
"""


def _caption(comparison: Comparison) -> str:
    sentences = [
        f"{comparison.metric.label}: mean over seeds with Student's 95 % interval.",
        f"Differences to {comparison.baseline} are paired by seed, with Student's 95 % interval, not corrected;",
        "p is of the permutation test of the pairs, by Holm's correction.",
        "Verdicts use intervals widened for all of them (Bonferroni).",
    ]
    if comparison.table["seeds"].min() < FEWEST_SEEDS:
        sentences.append(f"From fewer than {FEWEST_SEEDS} seeds nothing can be concluded.")
    return " ".join(sentences)
