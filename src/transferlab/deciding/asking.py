"""What a selection is asked for: its candidates, of which one takes nothing from a source, and its budget. No torch."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from transferlab import pretraining, results
from transferlab.composing import Composer, Plan
from transferlab.errors import InputError
from transferlab.expanding import configs, is_known, lists
from transferlab.ledger.plans import hydra_words
from transferlab.seeding import derive
from transferlab.twins import TWINS, WITHOUT_LABELS, of_strategy


@dataclass(frozen=True)
class Budget:
    """`budget` of `conf/select.yaml`: one of the three.

    Raises:
        InputError: none or several are given, or it is no number above 0.
    """

    runs: float | None
    epochs: float | None
    seconds: float | None

    def __post_init__(self) -> None:
        given = {key: value for key, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise InputError("give one budget: budget.runs=8, budget.epochs=300 or budget.seconds=3600")
        ((key, value),) = given.items()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise InputError(f"budget.{key}={value}: a number above 0")

    def in_epochs(self, whole: int) -> float | None:
        """Of all candidates together; None: it is one of seconds."""
        return self.runs * whole if self.runs is not None else self.epochs

    def __str__(self) -> str:
        ((key, value),) = ((key, value) for key, value in vars(self).items() if value is not None)
        return f"{value:g} {key}"


@dataclass(frozen=True)
class Choice:
    """`choice` of `conf/select.yaml`, which says what each means.

    Raises:
        InputError: a value out of its range.
    """

    keep: int | None
    score: Mapping[str, Any]
    samples: int
    factor: int
    first: int
    seeds: int

    def __post_init__(self) -> None:
        for key, least in (("keep", 1), ("samples", 2), ("factor", 2), ("first", 1), ("seeds", 1)):
            value = getattr(self, key)
            if value is None and key == "keep":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"choice.{key}={value}: a whole number, at least {least}")


@dataclass(frozen=True)
class Candidate:
    """A run that could be chosen.

    Attributes:
        name: what tells it from the others.
        words: its overrides.
        folder: where its run lies, or is to lie.
        axes: as in its record.
        twin: whether it is what the others are held against: it takes nothing from a source, or where the target has no
            labels, it does nothing but take the source.
        alone: whether it takes nothing from a source.
        source_run: the run that trains its source; None: its source is not trained here.
    """

    name: str
    words: tuple[str, ...]
    folder: Path
    axes: Mapping[str, Any]
    twin: bool
    alone: bool
    source_run: Path | None

    @property
    def pair(self) -> tuple[str, str]:
        """Source and backbone."""
        return str(self.axes["source"]), str(self.axes["backbone"])

    def under(self, seed: int) -> list[str]:
        """Its overrides, under another seed."""
        return [*(word for word in self.words if _key(word) != "seed"), f"seed={seed}"]


@dataclass(frozen=True)
class Asked:
    """A selection.

    Attributes:
        candidates: a twin first, then in an order that the seed draws.
        hydra: overrides of Hydra's own section.
        config: of the first, with nothing of the selection in it.
        whole: epochs of a whole run.
        budget: of the search.
        choice: the other settings.
    """

    candidates: tuple[Candidate, ...]
    hydra: tuple[str, ...]
    config: DictConfig
    whole: int
    budget: Budget
    choice: Choice

    @property
    def study(self) -> Path:
        """The folder of its runs."""
        return Path(self.config.paths.runs) / str(self.config.study)

    @property
    def seed(self) -> int:
        """Of the search."""
        return int(self.config.seed)

    @property
    def identity(self) -> str:
        """Ten hexadecimal digits of what is asked; of two that ask the same the second finds all done."""
        asked = [[one.folder.name for one in self.candidates], vars(self.budget), vars(self.choice)]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:10]


def asked(composer: Composer, plan: Plan) -> Asked:
    """What a command asks for that was checked.

    Raises:
        InputError: nothing to choose from, several seeds or lengths, or no budget.
    """
    budget, choice = _budget(plan.config), _choice(plan.config)
    if not is_known(plan):
        raise InputError("select takes lists of values, as in optimizer.lr=0.01,0.1, and no searching sweeper")
    if plan.config.get("twins"):
        raise InputError("twins=true: the scratch twin is always among the candidates; leave it out")
    jobs, hydra = list(product(*lists(plan))), hydra_words(plan)
    made = list(composed(composer, hydra, jobs))
    if not any(one.twin for one, _ in made):
        twins = TWINS[:1] if _has_labels(plan.config) else WITHOUT_LABELS
        made += composed(composer, hydra, list(dict.fromkeys(_as_twin(composer, job, twins[0]) for job in jobs)))
    for key in ("seed", "trainer.max_epochs", "study", "paths.runs"):
        if len(values := {str(OmegaConf.select(config, key)) for _, config in made}) > 1:
            raise InputError(f"{key} has several values ({', '.join(sorted(values))}): all candidates share one")
    config = made[0][1]
    candidates = ordered(_named(_apart([one for one, _ in made])), int(config.seed))
    if len(candidates) < 2:
        raise InputError("there is one candidate alone: list values to choose from, as in strategy=l2_sp,lp_ft")
    return Asked(candidates, tuple(hydra), config, int(config.trainer.max_epochs), budget, choice)


def _budget(config: DictConfig) -> Budget:
    return Budget(**{field.name: _node(config, "budget").get(field.name) for field in fields(Budget)})


def _choice(config: DictConfig) -> Choice:
    plain = OmegaConf.to_container(_node(config, "choice"), resolve=True)
    assert isinstance(plain, dict)
    values: dict[str, Any] = {field.name: plain.get(field.name) for field in fields(Choice)}
    return Choice(**values)


def _node(config: DictConfig, name: str) -> DictConfig:
    node = config.get(name)
    if not isinstance(node, DictConfig):
        raise InputError(f"this config has no {name}: have it start from select.yaml (defaults: [select, _self_])")
    return node


def composed(
    composer: Composer, hydra: Sequence[str], jobs: Sequence[tuple[str, ...]]
) -> Iterator[tuple[Candidate, DictConfig]]:
    """The candidate that each job is, with its config."""
    for words, config in zip(jobs, configs(composer, hydra, jobs), strict=True):
        axes = OmegaConf.to_container(config.axes, resolve=True)
        assert isinstance(axes, dict)
        told, start = {str(key): value for key, value in axes.items()}, str(config.strategy.get("start"))
        trained = pretraining.starts_from_source(config, start) and config.source.pretrain is not None
        source = results.folder(pretraining.config_of(config)) if trained else None
        twin = start == "random" if _has_labels(config) else told["strategy"] in WITHOUT_LABELS
        yield Candidate("", words, results.folder(config), told, twin, start == "random", source), config


def _has_labels(config: DictConfig) -> bool:
    return str(OmegaConf.select(config, "target.labels")) != "none"


def _as_twin(composer: Composer, words: Sequence[str], twin: str) -> tuple[str, ...]:
    """A job without anything of its strategy, and the twin's in place of that."""
    kept = [str(one.input_line) for one in composer.parse(words) if not of_strategy(one)]
    return (f"strategy={twin}", *kept)


def _apart(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each run once; one that takes nothing from a source is the same run under every source."""
    kept: dict[object, Candidate] = {}
    for one in candidates:
        elsewhere = tuple(word for word in one.words if not _key(word).startswith("source"))
        kept.setdefault(elsewhere if one.alone else one.folder, one)
    return list(kept.values())


def _named(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """With names of what differs between them."""
    said = [dict(word.partition("=")[::2] for word in one.words) for one in candidates]
    varied = [key for key in dict.fromkeys(chain(*said)) if len({one.get(key) for one in said}) > 1]
    told = [" ".join(_word(key, one[key]) for key in varied if key in one) for one in said]
    for one, name in zip(candidates, told, strict=True):
        yield replace(one, name=name if told.count(name) == 1 else f"{name} {one.folder.name}")


def _word(key: str, value: str) -> str:
    return value if key in ("strategy", "source", "backbone") else f"{key}={value}"


def ordered(candidates: Iterable[Candidate], seed: int) -> tuple[Candidate, ...]:
    """Drawn by the seed, and a twin first, so that however few enter it is among them."""
    drawn = sorted(candidates, key=lambda one: derive(seed, "candidate", one.folder.name))
    first = next(one for one in drawn if one.twin)
    return (first, *(one for one in drawn if one is not first))


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")
