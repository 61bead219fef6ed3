"""Squares and discs of bright colours on dark noise, with their masks and boxes."""

import numpy as np

CLASSES = ["square", "disc"]


def shapes(count, size, seed, most=2):
    """Images (N, S, S, 3) uint8, masks (N, S, S) with 0 for the ground, boxes (N, most, 5)."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 120, (count, size, size, 3)).astype(np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    boxes = np.tile(np.array([-1, 0, 0, 0, 0], np.float32), (count, most, 1))
    rows, columns = np.mgrid[:size, :size]
    for image in range(count):
        for place, quarter in enumerate(rng.permutation(4)[: rng.integers(1, most + 1)]):
            kind, radius = int(rng.integers(2)), int(rng.integers(size // 8, size // 5))
            y, x_ = (int(rng.integers(radius, size // 2 - radius)) + part * size // 2 for part in divmod(quarter, 2))
            far = np.maximum(abs(rows - y), abs(columns - x_)) if kind == 0 else np.hypot(rows - y, columns - x_)
            x[image][far <= radius] = rng.integers(150, 256, 3)
            masks[image][far <= radius] = kind + 1
            boxes[image, place] = [kind, *(np.array([x_ - radius, y - radius, x_ + radius + 1, y + radius + 1]) / size)]
    return x, masks, boxes
