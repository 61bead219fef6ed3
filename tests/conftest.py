"""What all tests share: no network, no tracker, one thread, and the real data where a machine has them."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("WANDB_API_KEY", None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that TRANSFERLAB_DATA names."""
    place = os.environ.get("TRANSFERLAB_DATA")
    if not place or not Path(place).is_dir():
        pytest.skip("TRANSFERLAB_DATA names no folder of real data sets")
    return Path(place)
