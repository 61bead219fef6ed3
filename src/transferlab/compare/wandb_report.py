"""A comparison in W&B: one run of the job type `compare`, beside the runs that it compares; a ranking likewise."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd

from transferlab import connection
from transferlab.compare.wandb_runs import COMPARISON

_PICTURES = (".png", ".jpg", ".jpeg")
_log = logging.getLogger(__name__)


def log(
    title: str,
    project: str,
    entity: str | None,
    study: str,
    tables: Mapping[str, pd.DataFrame],
    pictures: Sequence[Path],
    files: Sequence[Path],
    folder: Path,
    mode: str,
    timeout: float,
    job_type: str = COMPARISON,
) -> Mapping[str, Any]:
    """Log a comparison; whatever W&B cannot do costs a warning, never the comparison.

    Args:
        title: of the W&B run.
        project: W&B's project.
        entity: user or team; None: the default of the key.
        study: the W&B group.
        tables: by name; each becomes the W&B table `tables/<name>`.
        pictures: PNG or JPEG, shown as `plots/<stem>`; those of other kinds, such as SVG, go with the files.
        files: of the page and the rest; all of them become one artifact of the type `comparison`.
        folder: where W&B keeps its own log.
        mode: `online`, `offline`, or `auto`: online where a key is set.
        timeout: seconds that an absent server may cost at each of start and finish.
        job_type: of the W&B run.

    Returns:
        Kind, run id, mode, folder of the log below `folder`, and the address if it is online.

    Raises:
        InputError: another mode.
    """
    connection.check(mode, "tracker.mode")
    started = connection.start(
        connection.modes(mode, timeout, "tracker.mode"),
        timeout,
        project=project,
        entity=entity,
        group=study,
        job_type=job_type,
        name=title,
        dir=folder,
        config={"study": study},
    )
    if started is None:
        return {"kind": "wandb", "run_id": None, "mode": "failed"}
    run, mode = started
    told = {"kind": "wandb", "run_id": run.id, "mode": mode, "folder": os.path.relpath(Path(run.dir).parent, folder)}
    if mode == "online":
        told["url"] = run.url
    try:
        _within(timeout if mode == "online" else None, lambda: _fill(run, study, tables, pictures, files))
        run.finish()
    except Exception as error:  # W&B raises its own, the network's and the system's
        _log.warning("W&B could not keep the comparison: %s", error)
        with suppress(Exception):
            run.finish(exit_code=1)
        connection.start_over()
    return told


def _within(seconds: float | None, work: Callable[[], None]) -> None:
    """Do a work, and wait for it no longer than this: W&B asks its server about every table, and gives it a minute.

    Raises:
        TimeoutError: it was not done in time.
    """
    failures: list[Exception] = []

    def worker() -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)

    thread = Thread(target=worker, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the server did not take it within {seconds:g} s")
    if failures:
        raise failures[0]


def _fill(
    run: Any, study: str, tables: Mapping[str, pd.DataFrame], pictures: Sequence[Path], files: Sequence[Path]
) -> None:
    import wandb

    shown = [path for path in pictures if path.suffix.lower() in _PICTURES]
    # W&B makes a section of what stands before the slash
    drawn = {f"plots/{path.stem}": wandb.Image(str(path)) for path in shown}
    run.log({**{f"tables/{name}": _table(wandb, table) for name, table in tables.items()}, **drawn})
    kept = [*files, *(path for path in pictures if path not in shown)]
    if kept:
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"comparison-{study}"), type="comparison")
        for path in kept:
            artifact.add_file(str(path))
        run.log_artifact(artifact)


def _table(wandb: Any, frame: pd.DataFrame) -> Any:
    """A W&B table; what is missing is empty, and a column may hold numbers and words."""
    plain = frame.astype(object).where(frame.notna(), None)
    columns = [str(column) for column in frame.columns]
    return wandb.Table(columns=columns, data=plain.to_numpy().tolist(), allow_mixed_types=True)
