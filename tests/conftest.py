"""What all tests share: no network, no tracker, one thread, the day's seed, and real data where a machine has them."""

import os
import random
from datetime import date
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("WANDB_API_KEY", None)
# set by the first process, so that all processes of a test run draw the same tests
os.environ.setdefault("TRANSFERLAB_TEST_SEED", str(date.today().toordinal()))
os.environ.setdefault("TRANSFERLAB_SLOW_SHARE", "1")


def pytest_report_header() -> str:
    """What was drawn today, so that it can be again."""
    return ", ".join(f"{key}={os.environ[key]}" for key in ("TRANSFERLAB_TEST_SEED", "TRANSFERLAB_SLOW_SHARE"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests but for the share that TRANSFERLAB_SLOW_SHARE names, others each day."""
    share, seed = float(os.environ["TRANSFERLAB_SLOW_SHARE"]), os.environ["TRANSFERLAB_TEST_SEED"]

    def stays(item: pytest.Item) -> bool:
        return item.get_closest_marker("slow") is None or random.Random(f"{seed} {item.nodeid}").random() < share

    config.hook.pytest_deselected(items=[item for item in items if not stays(item)])
    items[:] = [item for item in items if stays(item)]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that TRANSFERLAB_DATA names."""
    place = os.environ.get("TRANSFERLAB_DATA")
    if not place or not Path(place).is_dir():
        pytest.skip("TRANSFERLAB_DATA names no folder of real data sets")
    return Path(place)
