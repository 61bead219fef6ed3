"""Real digits in two files, of one the target and of the other a source."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With target.npz, 240 of the UCI digits, and source.npz, 400 others, brighter."""
    from sklearn.datasets import load_digits

    place = tmp_path_factory.mktemp("ranking")
    x, y = load_digits(return_X_y=True)
    images, y = (x / 16 * 255).astype(np.uint8).reshape(-1, 8, 8), y.astype(np.int64)
    names = np.array([f"digit {number}" for number in range(10)])
    for name, part, light in (("target", slice(0, 240), 0), ("source", slice(300, 700), 40)):
        bright = np.clip(images[part].astype(int) + light, 0, 255).astype(np.uint8)
        np.savez(place / f"{name}.npz", x_train=bright, y_train=y[part], classes=names)
    return place


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder
