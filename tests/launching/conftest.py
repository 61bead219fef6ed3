"""What tests of launchers share: a folder of their own, in which processes find what becomes of them."""

import os
import sys
from pathlib import Path

import pytest
from fates import OPTIMIZERS


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRANSFERLAB_TRUST", "TRANSFERLAB_JOBS", "TRANSFERLAB_PARENT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    (tmp_path / "optimizers.py").write_text(OPTIMIZERS)
    monkeypatch.delitem(sys.modules, "optimizers", raising=False)  # another test's
