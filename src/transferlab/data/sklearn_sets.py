"""The small tables that scikit-learn brings along."""

from collections.abc import Sequence

import numpy as np
import torch

from transferlab.data.labels import TEST_SPLIT, hold_out
from transferlab.data.samples import Splits
from transferlab.data.tables import Encoding, Table
from transferlab.errors import InputError, unknown

_SETS = ("breast_cancer", "diabetes", "iris", "wine")


def sklearn_set(name: str, classes: Sequence[int] | None, test: float, missing: str, scale: str) -> Splits:
    """Read one of scikit-learn's own tables; `diabetes` has a number to predict, the others have classes.

    Args:
        name: iris, wine, breast_cancer or diabetes.
        classes: numbers of the classes that are kept, in their new order; None: all.
        test: share of each class that is tested on where classes are chosen: these are the whole set's test rows, so
            that a source and a target that have a class in common never test on one another's training rows.
        missing: see `Encoding`.
        scale: see `Encoding`.

    Raises:
        InputError: no such set or class, or classes of a set that has none.
    """
    from sklearn import datasets

    if name not in _SETS:
        raise unknown("table of scikit-learn", name, _SETS)
    options = {"scaled": False} if name == "diabetes" else {}
    read = getattr(datasets, f"load_{name}")(as_frame=True, **options)
    encoding, frame = Encoding(missing, scale, {}), read.data.astype(np.float64)
    if name == "diabetes":
        if classes is not None:
            raise InputError(f"target.data.classes={list(classes)}: diabetes has numbers to predict, no classes")
        return Splits(
            Table(frame, torch.from_numpy(read.target.to_numpy(np.float32, copy=True)), encoding),
            None,
            ("progression",),
        )
    names = tuple(map(str, read.target_names))
    whole = Table(frame, torch.from_numpy(read.target.to_numpy(np.int64, copy=True)), encoding)
    if classes is None:
        return Splits(whole, None, names)
    if len(set(classes)) != len(classes) or not set(classes) <= set(range(len(names))):
        raise InputError(
            f"target.data.classes={list(classes)}: different ones of 0..{len(names) - 1} ({', '.join(names)})"
        )
    parts = [torch.from_numpy(part) for part in hold_out(whole.y.numpy(), test, np.random.default_rng(TEST_SPLIT))]
    train, held = (_only(whole.take(part), classes) for part in parts)
    return Splits(train, held, tuple(names[label] for label in classes))


def _only(table: Table, classes: Sequence[int]) -> Table:
    """The rows of some classes, which are numbered anew."""
    new = torch.full((int(table.y.max()) + 1,), -1)
    new[torch.tensor(classes)] = torch.arange(len(classes))
    table = table.relabelled(new[table.y])
    return table.take(torch.nonzero(table.y >= 0)[:, 0])
