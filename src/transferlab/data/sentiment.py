"""Published sets of reviews, good or bad, in the files that they came in."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from transferlab.data.samples import Splits
from transferlab.data.text_splits import Read, read_file, text_splits
from transferlab.errors import InputError, unknown

_SIGNS = ("negative", "positive")
_DOMAINS = ("books", "dvd", "electronics", "kitchen")
_REVIEW = re.compile(r"<review_text>(.*?)</review_text>", re.DOTALL)


def sst2(root: str, encoding: str, cache: str | None) -> Splits:
    """SST-2 (Socher et al. 2013): sentences of film reviews, 6,920 to train on and 1,821 to test on.

    The set's own 872 sentences for development stay unread: a run selects on labels held out from training.

    Args:
        root: folder of `stsa.binary.train` and `stsa.binary.test`, whose lines are `0 TEXT` or `1 TEXT`.
        encoding: of the files.
        cache: the folder for tokens, or None.

    Raises:
        InputError: a file is missing, or a line is another.
    """
    train, test = (_lines(Path(root) / f"stsa.binary.{split}", encoding) for split in ("train", "test"))
    return text_splits(train, test, _SIGNS, cache)


def mr(root: str, encoding: str, cache: str | None) -> Splits:
    """MR (Pang & Lee 2005): 5,331 negative and 5,331 positive sentences of film reviews; no test split.

    Args:
        root: folder of `rt-polarity.neg` and `rt-polarity.pos`, one text a line.
        encoding: of the files.
        cache: the folder for tokens, or None.

    Raises:
        InputError: a file is missing.
    """
    files = {sign: Path(root) / f"rt-polarity.{sign[:3]}" for sign in _SIGNS}
    texts = {sign: _rows(read_file(file, encoding, "target.data.root")) for sign, file in files.items()}
    return text_splits(_by_sign(texts, files, root), None, _SIGNS, cache)


def amazon_reviews(root: str, name: str, encoding: str, cache: str | None) -> Splits:
    """Reviews of products of one domain (Blitzer et al. 2007): 1,000 negative, 1,000 positive; no test split.

    Args:
        root: folder of `DOMAIN/negative.review` and `DOMAIN/positive.review`, texts between `<review_text>` tags.
        name: the domain: `books`, `dvd`, `electronics` or `kitchen`.
        encoding: of the files.
        cache: the folder for tokens, or None.

    Raises:
        InputError: no such domain, or a file is missing.
    """
    if name not in _DOMAINS:
        raise unknown("domain of the Amazon reviews", name, _DOMAINS)
    files = {sign: Path(root) / name / f"{sign}.review" for sign in _SIGNS}
    contents = {sign: read_file(file, encoding, "target.data.root") for sign, file in files.items()}
    texts = {sign: [found.strip() for found in _REVIEW.findall(content)] for sign, content in contents.items()}
    return text_splits(_by_sign(texts, files, root), None, _SIGNS, cache)


def _by_sign(texts: Mapping[str, Sequence[str]], files: Mapping[str, Path], root: str) -> Read:
    labels = [sign for sign in _SIGNS for _ in texts[sign]]
    places = [f"{files[sign]}, text {number + 1}" for sign in _SIGNS for number in range(len(texts[sign]))]
    return Read([text for sign in _SIGNS for text in texts[sign]], None, labels, places.__getitem__, root)


def _lines(path: Path, encoding: str) -> Read:
    rows = [row.partition(" ") for row in _rows(read_file(path, encoding, "target.data.root"))]
    for number, (label, _, _) in enumerate(rows):
        if label not in ("0", "1"):
            raise InputError(f"{path}, line {number + 1} begins with '{label}', not with 0 or 1 and a space")
    texts, labels = [text for _, _, text in rows], [_SIGNS[int(label)] for label, _, _ in rows]
    return Read(texts, None, labels, partial(_line, str(path)), str(path))


def _rows(content: str) -> list[str]:
    """The lines; what some encodings take for a line's end inside of a text is none."""
    return content.removesuffix("\n").split("\n")


def _line(origin: str, number: int) -> str:
    return f"{origin}, line {number + 1}"
