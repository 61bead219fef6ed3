"""The fit of one run: from where it was interrupted, with errors that say what happened."""

import errno
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning import Trainer

from transferlab import files, results
from transferlab.data.module import TransferData
from transferlab.diagnostics.probe import undisturbed
from transferlab.errors import DivergedError
from transferlab.module import TransferModule

_log = logging.getLogger(__name__)


def rehearse(module: TransferModule, data: TransferData) -> None:
    """Compute the terms of the loss on two samples: what does not fit together shows before a source trains.

    Raises:
        InputError: a loss or the task cannot take these data.
    """
    with undisturbed(module):
        module.terms(data.rehearsal(2), 0.0)


def fit(trainer: Trainer, module: TransferModule, data: TransferData, resume: Path, what: str) -> None:
    """Fit from the last checkpoint if there is one.

    Args:
        trainer: whose callbacks write the checkpoint.
        module: to be trained.
        data: its batches.
        resume: the checkpoint's file.
        what: the run in a few words, for messages.

    Raises:
        InputError: the disk is full or read-only.
        KeyboardInterrupt: it was stopped from outside.
        DivergedError: the last step made the weights NaN or infinite; earlier ones show in the loss.
    """
    beside = resume.parent / results.START
    if resume.exists() and not (_is_whole(resume) and (not beside.exists() or _is_whole(beside))):
        _log.warning("%s is damaged: %s starts again from its first epoch", resume, what)
        resume.unlink()
    if resume.exists():
        _log.info("resuming %s where it was interrupted", what)
    try:
        with _disk(resume.parent):
            # Lightning would load a checkpoint's weights into a module that is not yet of the run's precision
            trainer.precision_plugin.convert_module(module)
            trainer.fit(module, datamodule=data, ckpt_path=resume if resume.exists() else None)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C and of SIGTERM
        raise KeyboardInterrupt from stop
    if not all(tensor.isfinite().all() for tensor in module.state_dict().values()):
        raise DivergedError.at_last()


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
