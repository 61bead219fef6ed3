import pytest


@pytest.fixture(autouse=True)
def away_from_the_checkout(monkeypatch, tmp_path):
    for name in ("TRANSFERLAB_TRUST", "TRANSFERLAB_JOBS", "TRANSFERLAB_JOBS_BEFORE", "TRANSFERLAB_PARENT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
