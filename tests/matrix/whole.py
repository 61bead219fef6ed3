"""Run every cell of the coverage matrix and write docs/coverage.md: `make coverage`, hours on two cores.

python tests/matrix/whole.py [--only WORD] [--strategies A,B] [--kept FILE] [--jobs N] [--out FILE]
"""

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import cells

DOCS = Path(__file__).parents[2] / "docs" / "coverage.md"
_MOST = 12  # cells whose outcomes are known together
HEAD = """# Coverage

Every strategy on every backbone family on every task: two steps of training and a test through the real command, at
tiny sizes (`make coverage`; `tests/matrix`). What a cell says is that the parts fit together, not how well they learn.
CI runs some of the cells each day, drawn by a seed that its log shows. `auto` chooses there between `scratch` and
`full_finetune`, of which each has two steps too.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run cells whose name contains this")
    parser.add_argument("--strategies", default="", help="run these alone, by comma")
    parser.add_argument("--kept", type=Path, help="outcomes, one a line: those of earlier calls are not run again")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    strategies = given.strategies.split(",") if given.strategies else cells.options("strategy")
    chosen = [cell for cell in cells.cells() if given.only in cell.name and cell.strategy in strategies]
    said = {cell.name: reason for cell in chosen if (reason := cells.gap(cell))}
    empty = set(said)
    if given.kept and given.kept.exists():
        said |= dict(json.loads(line) for line in given.kept.read_text().splitlines())
    for name, result in outcomes([cell for cell in chosen if cell.name not in said], given.jobs):
        said[name] = result
        if given.kept:
            with given.kept.open("a") as file:
                file.write(json.dumps([name, result]) + "\n")
    given.out.write_text(page({cell: said[cell.name] for cell in chosen}, strategies))
    ran = [cell.name for cell in chosen if cell.name not in empty]
    failed = [name for name in ran if said[name]]
    for name in failed:
        print(f"{name}: {said[name]}")
    print(f"{len(ran) - len(failed)} cells run, {len(failed)} failed; {given.out}")
    return bool(failed)


def outcomes(chosen: list[cells.Cell], jobs: int) -> Iterator[tuple[str, str]]:
    """Of each cell by its name: nothing where it runs, else why it does not."""

    def place(cell: cells.Cell) -> tuple[str, str]:
        return cell.family.name, cell.task

    groups = [list(group) for _, group in groupby(sorted(chosen, key=place), place)]
    parts = [group[first : first + _MOST] for group in groups for first in range(0, len(group), _MOST)]
    with ProcessPoolExecutor(jobs) as pool:
        for part in as_completed([pool.submit(together, part) for part in parts]):
            yield from part.result()


def together(group: list[cells.Cell]) -> list[tuple[str, str]]:
    """Cells of one source, which is trained once."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="matrix") as folder:
        os.chdir(folder)
        return [(cell.name, outcome(cell, Path(folder))) for cell in group]


def outcome(cell: cells.Cell, folder: Path) -> str:
    """Nothing where the cell runs, else why it does not."""
    started, said = time.perf_counter(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            record = cells.run(cell, folder)
        result = "" if record["status"] == "finished" else str(record["reason"])
    except AssertionError:
        lines = [line for line in said.getvalue().splitlines() if line.startswith("transferlab: ")]
        result = lines[-1].removeprefix("transferlab: ") if lines else said.getvalue()[-200:]
    print(f"{cell.name}: {result or 'runs'} ({time.perf_counter() - started:.1f} s)", file=sys.stderr)
    return result


def page(ran: dict[cells.Cell, str], strategies: list[str]) -> str:
    """A table a task, a row a family, a column a strategy; empty cells with their reasons below."""
    parts = [HEAD]
    if rest := [name for name in cells.options("strategy") if name not in strategies]:
        parts.append(f"Not in these tables yet: {', '.join(rest)}.\n")
    for task in sorted({cell.task for cell in ran}):
        here = {(cell.family.name, cell.strategy): said for cell, said in ran.items() if cell.task == task}
        rows = sorted({family for family, _ in here})
        whole = [row for row in rows if any(not here.get((row, strategy), "-") for strategy in strategies)]
        parts.append(f"## {task}\n")
        if whole:
            parts.append("| backbone | " + " | ".join(strategies) + " |\n|" + " --- |" * (len(strategies) + 1))
            parts += [
                f"| {row} | " + " | ".join("" if here.get((row, s), "-") else "yes" for s in strategies) + " |"
                for row in whole
            ]
            parts.append("")
        reasons: dict[str, list[str]] = {}
        for (family, strategy), said in here.items():
            if said:
                reasons.setdefault(said, []).append(family if family not in whole else f"{family} with {strategy}")
        parts += [f"- {reason}: {', '.join(dict.fromkeys(names))}." for reason, names in sorted(reasons.items())]
        parts += [""] if reasons else []
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
