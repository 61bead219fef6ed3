"""Runs of a W&B project, read back through W&B's public API as the records that they were on disk."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from transferlab import connection
from transferlab.compare.wandb_record import epochs, is_ours, rebuilt
from transferlab.errors import InputError
from transferlab.results import Record

PREFIX = "wandb:"
COMPARISON, RANKING = "compare", "rank"  # the job types of what `compare` and `rank` themselves leave in W&B
_PAGE = 100  # runs a request
_AT_ONCE = 8  # histories under way


def read(address: str, history: bool = True, timeout: float = 20) -> Iterator[tuple[str, Record | str]]:
    """Every run of a project, or of one group (study) of it, with its record or the reason why it has none.

    One request for the login, one for the default entity where the address names none, one for each 100 runs with
    their configs and summaries, and one a run for its history (more where a server sends but a sample of it). Runs
    of the job types `compare` and `rank` are passed over. What W&B was never told is empty: `overrides`, `environment`.

    Args:
        address: `wandb:entity/project`, `wandb:entity/project/group`, or `wandb:project` of the key's own entity.
        history: read the epochs too.
        timeout: seconds to wait for each answer.

    Yields:
        (address of the run's page, record as in `run.json`), or (address, reason).

    Raises:
        InputError: the address is none, no key, the server is absent or refuses, or there is no such project.
    """
    entity, project, group = split(address)
    with _told(address, timeout):
        api = _api(entity, timeout)
        path = project if entity is None else f"{entity}/{project}"
        filters = {"group": group} if group else {}
        # a generator over it: W&B's own iterator starts anew with every slice
        runs = (run for run in api.runs(path, filters=filters, per_page=_PAGE, lazy=False))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while page := list(islice(runs, _PAGE)):
                _tidy(page)
                ours = [run for run in page if run.job_type not in (COMPARISON, RANKING)]
                yield from pool.map(lambda run: _read(run, history), ours)


def split(address: str) -> tuple[str | None, str, str | None]:
    """Entity, project and group of an address.

    Raises:
        InputError: it is none.
    """
    parts = address.removeprefix(PREFIX).split("/", 2)
    if not address.startswith(PREFIX) or not all(parts):
        raise InputError(f"{address} is no address in W&B; write wandb:entity/project or wandb:entity/project/group")
    if len(parts) == 1:
        return None, parts[0], None
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _api(entity: str | None, timeout: float) -> Any:
    server = connection.address()
    if not connection.has_key(server):
        raise InputError(f"no W&B key is set for {server}: log in with `wandb login`, or set WANDB_API_KEY")
    if not connection.answers(server, timeout):
        raise InputError(f"the W&B server {server} does not answer: see to the network, or set WANDB_BASE_URL")
    connection.quiet()
    import wandb

    # an entity spares the question for the key's own
    return wandb.Api(overrides={"entity": entity} if entity else None, timeout=max(1, round(timeout)))


@contextmanager
def _told(address: str, timeout: float) -> Iterator[None]:
    """W&B raises its own errors, the network's and the system's; each becomes a sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        status, said = _status(error), " ".join(str(error).split())
        server = connection.address()
        if status in (401, 403):
            reason = f"{server} refuses the key; log in again with `wandb login`, or set WANDB_API_KEY"
        elif status == 404 or "Could not find project" in said:
            reason = f"{server} has no such project for this key; look at its address in the browser"
        elif "in time" in said:
            reason = f"{server} did not answer within {timeout:g} s; try again later"
        else:
            reason = f"{server} answered with an error ({said}); try again later"
        raise InputError(f"{address} cannot be read: {reason}") from error


def _status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error of W&B's, if there is one."""
    while error is not None:
        if status := getattr(getattr(error, "response", None), "http_status", None):
            return int(status)
        error = error.__cause__
    return None


def _read(run: Any, history: bool) -> tuple[str, Record | str]:
    try:
        if not is_ours(run.config):
            return run.url, "not a run of transferlab: its config has no axes"
        record = rebuilt(run.id, run.state, run.url, run.config, run.summary_metrics)
        rows = _rows(run) if history else []
        return run.url, {**record, "history": epochs(rows, run.summary_metrics.get("groups", ()))}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return run.url, f"unreadable: {type(error).__name__}: {error}"


def _tidy(page: Iterable[Any]) -> None:
    """W&B's client makes an empty folder for every run that it reads; they go again."""
    for folder in (Path(run.dir) for run in page):
        with suppress(OSError):
            for empty in (folder, *folder.parents[:2]):
                empty.rmdir()


def _rows(run: Any) -> list[Mapping[str, Any]]:
    """Every row of a run's history: in one answer where the server gives as many as it says there are.

    Raises:
        ValueError: it gives a sample, and no more when asked for all.
    """
    lines = run.history_line_count or 0
    rows: list[Mapping[str, Any]] = run.history(samples=lines, pandas=False) if lines else []
    if len(rows) >= lines:
        return rows
    try:
        return list(run.scan_history(use_cache=False))
    except Exception as error:
        raise ValueError(f"only {len(rows)} of the {lines} rows of its history came ({error})") from error
