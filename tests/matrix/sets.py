"""Sets of a few samples for the coverage matrix, one for each kind of input and task that go together."""

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = 16
CLASSES = 2
SIDE = 32
WORDS = ("good", "bad", "dull", "bright", "long", "short", "film", "plot", "we", "they", "liked", "hated")


@dataclass(frozen=True)
class Set:
    """A data set on disk: the option of `target=` that reads it, and the keys of its `data` node."""

    reader: str
    keys: dict[str, str]

    def as_target(self) -> list[str]:
        return [f"target={self.reader}", *(f"target.data.{key}={value}" for key, value in self.keys.items())]

    def as_source(self, task: str) -> list[str]:
        return [
            f"source={self.reader}",
            f"task@source.pretrain.task={task}",
            "source.pretrain.max_epochs=1",
            "source.pretrain.batch_size=8",
            *(f"source.pretrain.target.data.{key}={value}" for key, value in self.keys.items()),
        ]


def draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels(task: str, rng: np.random.Generator) -> np.ndarray:
    """As the task takes them, two outputs where it has several."""
    if task == "multilabel":
        return np.stack([np.arange(SAMPLES) % 2, np.arange(SAMPLES) // 2 % 2], 1).astype(np.float32)
    if task == "regression":
        return rng.normal(size=(SAMPLES, 2)).astype(np.float32)
    return np.arange(SAMPLES) % CLASSES


def arrays(reader: str, x: np.ndarray, y: np.ndarray, folder: Path) -> Set:
    file = folder / f"{reader}.npz"
    np.savez(file, x_train=x, y_train=y, x_test=x[::-1], y_test=y[::-1], classes=np.array(["first", "second"]))
    return Set(reader, {"path": str(file)})


def images(task: str, folder: Path, rng: np.random.Generator) -> Set:
    x = rng.integers(0, 256, (SAMPLES, SIDE, SIDE, 3), dtype=np.uint8)
    if task == "segmentation":
        return arrays("mask_arrays", x, rng.integers(0, CLASSES, (SAMPLES, SIDE, SIDE)).astype(np.uint8), folder)
    if task == "detection":
        low = rng.uniform(0, 0.5, (SAMPLES, 2, 2))
        boxes = np.concatenate([rng.integers(0, CLASSES, (SAMPLES, 2, 1)), low, low + 0.4], 2)
        return arrays("box_arrays", x, boxes.astype(np.float32), folder)
    return arrays("npz", x, labels(task, rng), folder)


def tables(task: str, folder: Path, rng: np.random.Generator) -> Set:
    return arrays("npz", rng.normal(size=(SAMPLES, 6)).astype(np.float32), labels(task, rng), folder)


def series(task: str, folder: Path, rng: np.random.Generator) -> Set:
    return arrays("series", rng.normal(size=(SAMPLES, 20, 2)).astype(np.float32), labels(task, rng), folder)


def texts(task: str, folder: Path, rng: np.random.Generator) -> Set:
    y = labels(task, rng)
    columns = ["label"] if y.ndim == 1 else ["first", "second"]
    rows = [",".join([" ".join(words(rng)), *map(str, np.atleast_1d(row))]) for row in y]
    file = folder / "texts.csv"
    file.write_text("\n".join([",".join(["text", *columns]), *rows]) + "\n")
    if y.ndim == 1:
        return Set("text_file", {"path": str(file)})
    return Set("text_file", {"path": str(file), "label": "[first,second]", "numbers": "true"})


def words(rng: np.random.Generator) -> list[str]:
    return [str(word) for word in rng.choice(WORDS, int(rng.integers(3, 9)))]


def tagged(task: str, folder: Path, rng: np.random.Generator) -> Set:
    file = folder / "tagged.conll"
    sentences = [[f"{word}\t{'verb' if len(word) > 4 else 'other'}" for word in words(rng)] for _ in range(SAMPLES)]
    file.write_text("\n\n".join("\n".join(lines) for lines in sentences) + "\n")
    return Set("conll", {"path": str(file)})


def parallel(task: str, folder: Path, rng: np.random.Generator) -> Set:
    file = folder / "parallel.tsv"
    pairs = [words(rng) for _ in range(SAMPLES)]
    lines = ["\t".join((" ".join(one), " ".join(reversed(one)))) for one in pairs]
    file.write_text("\n".join(["source\ttarget", *lines]) + "\n")
    return Set("parallel_text", {"path": str(file)})


def captioned(task: str, folder: Path, rng: np.random.Generator) -> Set:
    file, rows = folder / "captions.csv", []
    for number in range(SAMPLES):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{' '.join(words(rng))} {number}")
    file.write_text("\n".join(["image,text", *rows]) + "\n")
    return Set("captions", {"path": str(file)})


def prompted(task: str, folder: Path, rng: np.random.Generator) -> Set:
    for number in range(SAMPLES):
        place = folder / "images" / WORDS[number % CLASSES]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(place / f"{number}.png")
    return Set("prompted", {"of.data.root": str(folder / "images"), "of.data.train": "null"})


def sound(task: str, folder: Path, rng: np.random.Generator) -> Set:
    for number in range(SAMPLES):
        place = folder / "sound" / f"class{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        with wave.open(str(place / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(rng.integers(-9000, 9000, 3200 + 160 * number, dtype=np.int16).tobytes())
    return Set("audio_folder", {"root": str(folder / "sound"), "train": "null"})


def heard(task: str, folder: Path, rng: np.random.Generator) -> Set:
    """Recordings with two labels each."""
    sound(task, folder, rng)
    files = sorted((folder / "sound").glob("*/*.wav"), key=lambda file: int(file.stem))
    rows = [
        f"{file.relative_to(folder)},{one},{other}" for file, (one, other) in zip(files, labels(task, rng), strict=True)
    ]
    (folder / "heard.csv").write_text("\n".join(["path,first,second", *rows]) + "\n")
    keys = {"path": str(folder / "heard.csv"), "label": "[first,second]"}
    return Set("audio_manifest", keys | ({"numbers": "true"} if task == "regression" else {}))


def ratings(task: str, folder: Path, rng: np.random.Generator) -> Set:
    file = folder / "ratings.csv"
    # every other pair, so that a source and a target may have all users and items in common and no pair
    first = int(rng.integers(2))
    pairs = [(user, item) for user in range(6) for item in range(5) if (user + item) % 2 == first]
    rows = [f"u{user},i{item},{int(rng.integers(1, 6))}" for user, item in pairs]
    file.write_text("\n".join(["user,item,rating", *rows]) + "\n")
    return Set("ratings", {"path": str(file)})


VECTORS = ("classification", "binary", "multilabel", "regression")
MAKERS: dict[tuple[str, str], Callable[[str, Path, np.random.Generator], Set]] = {
    **{("images", task): images for task in (*VECTORS, "open_set", "reconstruction", "segmentation", "detection")},
    **{("tables", task): tables for task in (*VECTORS, "open_set", "reconstruction")},
    **{("series", task): series for task in (*VECTORS, "open_set")},
    **{("texts", task): texts for task in (*VECTORS, "open_set")},
    **{("sound", task): sound for task in ("classification", "binary", "open_set")},
    **{("sound", task): heard for task in ("multilabel", "regression")},
    ("texts", "token_classification"): tagged,
    ("texts", "translation"): parallel,
    ("pairs", "retrieval"): captioned,
    ("pairs", "prompted"): prompted,
    ("ids", "rating"): ratings,
    ("ids", "regression"): ratings,
}
