"""How W&B is reached: online where a key is set and a server answers in time, else offline. No torch."""

import logging
import os
from typing import Any, Literal, TypeAlias

from transferlab.errors import InputError
from transferlab.offspring import spared
from transferlab.withheld import aside, hidden

Mode: TypeAlias = Literal["online", "offline"]
_log = logging.getLogger(__name__)
# servers that failed this process: the other jobs of a sweep do not wait for them again
_given_up: set[str] = set()
# settings with what W&B found out for a run of this process: it would read every package's files, and ask git, at each
_known: dict[str, Any] = {}


def check(mode: str, setting: str) -> None:
    """Refuse a mode that is none.

    Args:
        mode: asked for.
        setting: the name under which it was asked for, e.g. `tracker.mode`.

    Raises:
        InputError: it is none of `auto`, `online`, `offline`.
    """
    if mode not in ("auto", "online", "offline"):
        raise InputError(f"{setting}={mode}: 'auto', 'online' or 'offline'")


def modes(mode: str, timeout: float, setting: str) -> tuple[Mode, ...]:
    """The modes to try, best first: offline alone where W&B's own settings, the key or the server leave nothing else.

    Args:
        mode: `online`, `offline`, or `auto`: online where a key is set.
        timeout: seconds that an absent server may cost.
        setting: the name under which the mode was asked for, for warnings.
    """
    # a mode of ours given to W&B beats its own WANDB_MODE, so `auto` has to ask for it
    if mode == "offline" or (mode == "auto" and os.environ.get("WANDB_MODE", "online") != "online"):
        return ("offline",)
    server = address()
    if server in _given_up:
        return ("offline",)
    if not has_key(server):
        if mode == "online":
            _log.warning("%s=online, but no W&B key is set: the run is tracked offline", setting)
        return ("offline",)
    if not answers(server, timeout):
        _given_up.add(server)
        _log.warning("the W&B server %s does not answer: the run is tracked offline", server)
        return ("offline",)
    return ("online", "offline")


def start(tried: tuple[Mode, ...], timeout: float, goes_on: bool = False, **run: Any) -> tuple[Any, Mode] | None:
    """Start a W&B run in the first mode that works; each that does not costs a warning.

    Args:
        tried: modes, best first.
        timeout: seconds that an absent server may cost at each of start and finish.
        goes_on: it was interrupted, and does not begin anew.
        run: what `wandb.init` is told of the run.

    Returns:
        The run and its mode; None where W&B cannot start at all.
    """
    quiet()
    import wandb

    for mode in tried:
        # uploaded later, what goes on is put behind what was before; else it takes its place
        resume: Literal["allow"] | None = "allow" if mode == "online" or goes_on else None
        try:
            # for the whole process too: else W&B reports on itself to its server, offline or not
            with spared(), aside("SLURM_"):  # W&B notes all of them, SLURM_JWT too
                wandb.setup(wandb.Settings(mode=mode))
                begun = wandb.init(mode=mode, resume=resume, settings=_settings(wandb, timeout), **run)
            _known.update(_found(begun.settings))
            return begun, mode
        except Exception as error:  # W&B raises its own, the network's and the system's
            _log.warning("W&B could not start %s: %s", mode, hidden(str(error)))
            start_over()
            if mode == "online":
                _given_up.add(address())
    return None


def quiet() -> None:
    """Keep W&B's reports on itself at home: they hold up the end of a process when its server is ill."""
    # a user may still switch them on
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def address() -> str:
    """Of the server: W&B's own, or the one that WANDB_BASE_URL names."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def has_key(server: str) -> bool:
    """Whether W&B finds a key: in the environment, or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    from requests.utils import get_netrc_auth

    return get_netrc_auth(server) is not None


def answers(server: str, timeout: float) -> bool:
    """Whether a web server answers at an address in time, whatever it says; through a proxy where one is set."""
    import requests

    try:
        requests.get(server, timeout=timeout, stream=True, allow_redirects=False).close()
    except requests.exceptions.SSLError:
        return True  # somebody is there, with a certificate that W&B may have been told to take
    except requests.RequestException:
        return False
    return True


def start_over() -> None:
    """Let W&B's helper process go: it holds the id of a run that did not start, or is dead itself."""
    import wandb

    try:
        wandb.teardown()
    except Exception as error:
        _log.debug("W&B could not be torn down: %s", error)


def _settings(wandb: Any, timeout: float) -> Any:
    return wandb.Settings(
        silent=True,
        console="off",
        init_timeout=timeout,
        finish_timeout=timeout,
        finish_timeout_raises=False,
        # a killed run keeps what it logged up to a second ago
        x_transaction_log_flush_interval=0.5,
        **_known,
    )


def _found(settings: Any) -> dict[str, Any]:
    """What the next run need not find out again: packages are told once, and the commit is that of the code loaded."""
    if settings.git_commit is None:
        return {"x_save_requirements": False, "disable_git": True}
    git = {"git_commit": settings.git_commit, "git_remote_url": settings.git_remote_url or ""}
    return {"x_save_requirements": False, **git, **({"git_root": settings.git_root} if settings.git_root else {})}
