"""Texts of Hugging Face's `datasets`: from the hub, its cache here, or a folder."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transferlab.data.samples import Splits
from transferlab.data.text_splits import Read, text_splits
from transferlab.errors import InputError, unknown
from transferlab.inputs.origins import first_line


def hf_dataset(
    path: str,
    name: str | None,
    train: str,
    test: str | None,
    text: str | Sequence[str],
    label: str,
    cache: str | None,
) -> Splits:
    """Read a labelled set of texts.

    Args:
        path: id on the hub, or a folder: of data files, or written by `save_to_disk`.
        name: of the set's configuration, e.g. `sst2` of `glue`; None: it has one.
        train: its training split.
        test: its test split, which must be labelled; None: cut from training.
        text: the column of texts, or two columns, whose texts are read as pairs.
        label: the column of classes.
        cache: the folder for tokens, or None.

    Raises:
        InputError: `datasets` is not installed, or there is no such set, split, column or label.
    """
    columns = [text] if isinstance(text, str) else list(text)
    if not 1 <= len(columns) <= 2:
        raise InputError(f"target.data.text={columns}: one column, or two for pairs of texts")
    found = _loaded(path, name)
    wanted = [train] if test is None else [train, test]
    for split in wanted:
        if split not in found:
            raise unknown(f"split of {path}", split, found)
    for column in (*columns, label):
        if column not in found[train].column_names:
            raise unknown(f"column of {path}", column, found[train].column_names)
    names = getattr(found[train].features[label], "names", None) or []
    parts = [_read(found[split], f"{path}:{split}", columns, label, names) for split in wanted]
    return text_splits(parts[0], parts[1] if test is not None else None, names, cache)


def _loaded(path: str, name: str | None) -> Any:
    """The splits by name."""
    try:
        import datasets
    except ImportError as error:
        raise InputError("target.data reads Hugging Face's datasets: pip install 'transferlab[datasets]'") from error
    try:
        if (Path(path) / "dataset_dict.json").is_file():
            return datasets.load_from_disk(path)
        return datasets.load_dataset(path, name)
    except Exception as error:  # each way in which a set cannot be had has an error of its own
        where = f"{path} ({name})" if name else path
        raise InputError(
            f"target.data.path={where} cannot be read: {first_line(error)}; check path and name, or download it where "
            "there is a connection and give its folder"
        ) from error


def _read(split: Any, origin: str, columns: Sequence[str], label: str, names: Sequence[str]) -> Read:
    place = partial(_row, origin)
    texts = [list(split[column]) for column in columns]
    given = list(split[label])
    for column, cells in zip((*columns, label), (*texts, given), strict=True):
        if None in cells:
            raise InputError(f"{place(cells.index(None))} has nothing in column '{column}'; fill or remove it")
    if names and -1 in given:
        raise InputError(f"{place(given.index(-1))} has no label, as hidden test splits do; set target.data.test")
    labels = [names[one] for one in given] if names else [str(one) for one in given]
    return Read(texts[0], texts[1] if len(texts) == 2 else None, labels, place, origin)


def _row(origin: str, number: int) -> str:
    return f"{origin}, row {number + 1}"
