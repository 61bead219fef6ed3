"""The fit of one run: from where it was interrupted, with errors that say what happened."""

import errno
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer

from transferlab import files, results
from transferlab.data.module import TransferData
from transferlab.diagnostics.probe import undisturbed
from transferlab.errors import DivergedError, PausedError
from transferlab.module import TransferModule

_log = logging.getLogger(__name__)


def rehearse(module: TransferModule, data: TransferData) -> None:
    """Compute the terms of the loss on two samples: what does not fit together shows before a source trains.

    Raises:
        InputError: a loss or the task cannot take these data.
    """
    with undisturbed(module):
        module.terms(data.rehearsal(2), 0.0)


class _Pause(Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The checkpoint of the epoch before is whole."""
        if trainer.current_epoch >= self.epochs:
            raise PausedError.after(self.epochs, trainer.max_epochs)


def fit(
    trainer: Trainer, module: TransferModule, data: TransferData, resume: Path, what: str, pause_at: int | None = None
) -> bool:
    """Fit from the last checkpoint if there is one.

    Args:
        trainer: whose callbacks write the checkpoint.
        module: to be trained.
        data: its batches.
        resume: the checkpoint's file.
        what: the run in a few words, for messages.
        pause_at: epochs in all after which it stops, its checkpoint left; None: it does not.

    Returns:
        Whether it came to its end.

    Raises:
        InputError: the disk is full or read-only.
        KeyboardInterrupt: it was stopped from outside.
        DivergedError: the last step made the weights NaN or infinite; earlier ones show in the loss.
    """
    if pause_at is not None:
        cast(list[Callback], cast(Any, trainer).callbacks).insert(0, _Pause(pause_at))
    beside = resume.parent / results.START
    if resume.exists() and not (_is_whole(resume) and (not beside.exists() or _is_whole(beside))):
        _log.warning("%s is damaged: %s starts again from its first epoch", resume, what)
        resume.unlink(missing_ok=True)  # another process of the run may have been first
    if resume.exists():
        _log.info("resuming %s where it was interrupted", what)
    try:
        with _disk(resume.parent):
            # Lightning would load a checkpoint's weights into a module that is not yet of the run's precision
            trainer.precision_plugin.convert_module(module)
            trainer.fit(module, datamodule=data, ckpt_path=resume if resume.exists() else None)
    except PausedError:
        return False
    except SystemExit as stop:  # what Lightning makes of Ctrl-C and of SIGTERM
        raise KeyboardInterrupt from stop
    if not all(tensor.isfinite().all() for tensor in module.state_dict().values()):
        raise DivergedError.at_last()
    return True


def _is_whole(checkpoint: Path) -> bool:
    """Whether a file of torch's, which is a zip archive with checksums, was written to its end."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A disk that is full or read-only in the middle of a run ends it with the same sentence as at its start."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            raise
        with files.writable(folder):
            raise
