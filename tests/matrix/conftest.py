"""What tests of the matrix share."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all cells of a module in this process, so that a source is trained once."""
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Any], Callable[[], Any]], None]:
    """From then on every fit has one callback more, which the list keeps."""
    from transferlab import train

    def add(kept: list[Any], callback: Callable[[], Any]) -> None:
        fit = train.fit

        def watched(trainer: Any, *rest: Any) -> bool:
            kept.append(callback())
            trainer.callbacks.append(kept[-1])
            return fit(trainer, *rest)

        monkeypatch.setattr(train, "fit", watched)

    return add
