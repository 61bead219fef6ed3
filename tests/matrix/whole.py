"""Run every cell of the coverage matrix and write docs/coverage.md: `make coverage`, hours on two cores.

python tests/matrix/whole.py [--only WORD] [--strategies A,B] [--out FILE]
"""

import argparse
import contextlib
import io
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import cells

DOCS = Path(__file__).parents[2] / "docs" / "coverage.md"
HEAD = """# Coverage

Every strategy on every backbone family on every task: two steps of training and a test through the real command, at
tiny sizes (`make coverage`; `tests/matrix`). What a cell says is that the parts fit together, not how well they learn.
CI runs some of the cells each day, drawn by a seed that its log shows.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run cells whose name contains this")
    parser.add_argument("--strategies", default="", help="run these alone, by comma")
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    strategies = given.strategies.split(",") if given.strategies else cells.options("strategy")
    chosen = [cell for cell in cells.cells() if given.only in cell.name and cell.strategy in strategies]
    ran = {cell: outcome(cell) for cell in in_order(chosen)}
    given.out.write_text(page(ran, strategies))
    failed = {cell: said for cell, said in ran.items() if said not in ("", None) and cells.gap(cell) is None}
    for cell, said in failed.items():
        print(f"{cell.name}: {said}")
    print(f"{sum(said == '' for said in ran.values())} cells run, {len(failed)} failed; {given.out}")
    return bool(failed)


def in_order(chosen: Iterable[cells.Cell]) -> list[cells.Cell]:
    """Those of one source behind one another."""
    return sorted(chosen, key=lambda cell: (cell.family.name, cell.task, cell.strategy))


FOLDER = Path(tempfile.mkdtemp(prefix="matrix"))


def outcome(cell: cells.Cell) -> str:
    """Nothing where the cell runs, else why it does not."""
    if reason := cells.gap(cell):
        return reason
    os.chdir(FOLDER)
    started, said = time.perf_counter(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            record = cells.run(cell, FOLDER)
        result = "" if record["status"] == "finished" else str(record["reason"])
    except AssertionError:
        lines = [line for line in said.getvalue().splitlines() if line.startswith("transferlab: ")]
        result = lines[-1].removeprefix("transferlab: ") if lines else said.getvalue()[-200:]
    print(f"{cell.name}: {result or 'runs'} ({time.perf_counter() - started:.1f} s)", file=sys.stderr)
    return result


def page(ran: dict[cells.Cell, str], strategies: list[str]) -> str:
    """A table a task, a row a family, a column a strategy; empty cells with their reasons below."""
    parts = [HEAD]
    for task in dict.fromkeys(cell.task for cell in sorted(ran, key=lambda cell: cell.task)):
        here = {(cell.family.name, cell.strategy): said for cell, said in ran.items() if cell.task == task}
        rows = sorted({family for family, _ in here})
        whole = [row for row in rows if any(not here[row, strategy] for strategy in strategies)]
        parts.append(f"## {task}\n")
        if whole:
            parts.append("| backbone | " + " | ".join(strategies) + " |\n|" + " --- |" * (len(strategies) + 1))
            parts += [
                f"| {row} | " + " | ".join("" if here[row, s] else "yes" for s in strategies) + " |" for row in whole
            ]
            parts.append("")
        reasons: dict[str, list[str]] = {}
        for (family, strategy), said in here.items():
            if said:
                reasons.setdefault(said, []).append(family if family not in whole else f"{family} with {strategy}")
        parts += [f"- {reason}: {', '.join(dict.fromkeys(names))}." for reason, names in sorted(reasons.items())]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    sys.exit(main())
