"""What of a net stays as it was is written once beside a run's checkpoints, which then hold what has changed."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from transferlab import files, results


class Unchanged(Callback):
    """Leaves out of checkpoints what no epoch so far has trained: frozen stages, and teachers.

    A stage counts as changed from the first epoch on in which something of it trains or is in training mode; what is
    neither of the backbone nor of a teacher always does. Stands before whoever writes weights at an epoch's end.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / results.START
        self.changed: set[str] = set()
        self._written = False
        self._trained: tuple[str, ...] | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count in what this epoch may have changed: what the one before may have, if the same stages trained."""
        trained = getattr(pl_module, "trainable", None)
        if trained is None or trained != self._trained:
            self.changed |= set(pl_module.state_dict()) - _still(pl_module)
            self._trained = trained

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the rest out of a checkpoint, once it lies beside it."""
        state = checkpoint["state_dict"]
        if trainer.world_size > 1 or not (rest := state.keys() - self.changed):
            return
        if not self._written:
            write({key: state[key] for key in state if key in rest}, self.path)
            self._written = True
        checkpoint["state_dict"] = {key: value for key, value in state.items() if key in self.changed}

    def read(self) -> dict[str, Tensor]:
        """What was left out, as it was at the start; some of it may have changed later."""
        found: dict[str, Tensor] = torch.load(self.path, "cpu", weights_only=True) if self.path.exists() else {}
        return found

    def state_dict(self) -> dict[str, Any]:
        """The names of what has changed."""
        return {"changed": sorted(self.changed), "written": self._written}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; what lies beside the checkpoint stays as it is."""
        self.changed, self._written = set(state_dict["changed"]), state_dict["written"]


def write(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    files.write_bytes(path, buffer.getbuffer())


def _still(module: LightningModule) -> set[str]:
    """Names of tensors of backbone and teachers that neither train nor belong to a module in training mode."""
    found = set()
    for path, part in module.named_modules():
        if path.startswith(("backbone.", "teachers.")):
            own = [name for name, parameter in part.named_parameters(recurse=False) if not parameter.requires_grad]
            own += [] if part.training else [name for name, _ in part.named_buffers(recurse=False)]
            found |= {f"{path}.{name}" for name in own}
    return found
