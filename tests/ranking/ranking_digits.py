"""The command that ranks real digits, and what it writes."""

import json
from pathlib import Path

from transferlab import cli

NET = ("backbone.input.shape=[1,8,8]", "backbone.widths=[4,8]")


def words(*more: str) -> list[str]:
    own = (
        () if "source=none" in more else ("source.pretrain.target.data.path=source.npz", "source.pretrain.max_epochs=2")
    )
    return ["target=npz", "target.data.path=target.npz", "tracker=none", "trainer.accelerator=cpu", *NET, *own, *more]


def ranked(study: str, *more: str) -> dict:
    """What the command writes into a study."""
    assert cli.main(["rank", *words(f"study={study}", *more)]) == 0
    (file,) = Path("runs", study).glob("ranking/*/ranking.json")
    return {"folder": file.parent, **json.loads(file.read_text())}


def scores(said: dict) -> dict[tuple[str, str], dict[str, float]]:
    return {(row["source"], row["backbone"]): row["scores"] for row in said["rows"]}
