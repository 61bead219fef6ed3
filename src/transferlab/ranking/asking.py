"""What a ranking is asked for: the candidates that its words name, each with the config that a run of it has. No torch.

A source and a backbone may be named by globs. What does not go together is left out with its reason, not refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from itertools import product

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from transferlab.composing import Composer, is_listed, quoted, values
from transferlab.errors import InputError, unknown

_AXES = ("source", "backbone")


@dataclass(frozen=True)
class Settings:
    """The settings of `conf/rank.yaml`, which says what each means.

    Raises:
        InputError: a value out of its range.
    """

    by: str
    scores: str
    samples: int
    pretrain: bool
    reference: str | None
    task2vec: int
    bootstrap: int
    intervals: str

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise InputError(f"samples={self.samples}: at least 2 are scored")
        if self.task2vec < 0:
            raise InputError(
                f"task2vec={self.task2vec}: 0, or how many samples of each side are passed forward and back"
            )
        if self.bootstrap < 0 or self.bootstrap == 1:
            raise InputError(f"bootstrap={self.bootstrap}: 0, or at least 2 draws")

    @property
    def off(self) -> dict[str, str]:
        """The scores that need a setting which is not made, and what to set."""
        remedies = {
            "linear_cka": "" if self.reference else "set reference=SOURCE/BACKBONE, one of the candidates",
            "task2vec_distance": "" if self.task2vec else "set task2vec=100, or how many samples it may take",
        }
        return {name: remedy for name, remedy in remedies.items() if remedy}


@dataclass(frozen=True)
class Entrant:
    """A source on a backbone that can be composed.

    Attributes:
        source: its name.
        backbone: likewise.
        config: of a run that starts from it.
    """

    source: str
    backbone: str
    config: DictConfig

    @property
    def name(self) -> str:
        """Both of its names."""
        return f"{self.source}/{self.backbone}"


@dataclass(frozen=True)
class LeftOut:
    """A source on a backbone that is not ranked, and why."""

    source: str
    backbone: str
    reason: str


@dataclass(frozen=True)
class Asked:
    """What a ranking is asked for.

    Attributes:
        settings: of `conf/rank.yaml`.
        functions: the config node of every score, by name.
        entrants: in the order of their names.
        left_out: what cannot be composed.
    """

    settings: Settings
    functions: DictConfig
    entrants: list[Entrant]
    left_out: list[LeftOut]


def read(words: Sequence[str], config_dir: str | None = None) -> Asked:
    """The candidates and settings of a command's words.

    Args:
        words: overrides, as `transferlab rank` takes them.
        config_dir: a folder of one's own configs.

    Raises:
        InputError: a word is wrong, a glob matches nothing, or no candidate can be composed.
    """
    with Composer("rank", config_dir) as composer:
        parsed = composer.parse(_whole(composer.parse([_bracketed(word) for word in words])))
        rest = [one for one in parsed if one.key_or_group not in _AXES]
        _check_single(rest)
        named = {axis: _options(composer, axis, parsed) for axis in _AXES}
        entrants, left_out, first = [], [], None
        used: set[str] = set()
        for source, backbone in product(named["source"], named["backbone"]):
            try:
                fit = _fitting(composer, rest, source, backbone)
                plan = composer.check([*fit, f"source={source}", f"backbone={backbone}"], multirun=False)
            except InputError as error:
                left_out.append(LeftOut(source, backbone, str(error)))
                continue
            used.update(fit)
            first = first or plan.config
            entrants.append(Entrant(source, backbone, _of_run(plan.config)))
        for one in rest:
            if entrants and (line := str(one.input_line)) not in used:  # says what is wrong with it
                choice = entrants[0]
                composer.check([line, f"source={choice.source}", f"backbone={choice.backbone}"], multirun=False)
    if first is None:
        raise InputError(left_out[0].reason)
    settings = Settings(**{one.name: first[one.name] for one in fields(Settings)})
    return Asked(settings, first.score, entrants, left_out)


def chosen(key: str, globs: str, names: Iterable[str]) -> list[str]:
    """The names that globs with commas between them match, in the order of the names.

    Args:
        key: what the globs were given for, for messages.
        globs: at least one.
        names: there are.

    Raises:
        InputError: a glob matches nothing.
    """
    names, found = list(names), set()
    for glob in (part.strip() for part in globs.split(",")):
        if not (matched := {name for name in names if fnmatchcase(name, glob)}):
            raise unknown(key, glob, names)
        found |= matched
    return [name for name in names if name in found]


def _options(composer: Composer, axis: str, parsed: Sequence[Override]) -> list[str]:
    """The options of an axis that the words name, else the one of `conf/rank.yaml`; sorted."""
    given = [one for one in parsed if one.key_or_group == axis]
    if not given:
        return [str(composer.config([]).hydra.runtime.choices[axis])]
    globs = ",".join(value.strip("'\"") for value in values(given[-1]))  # of two words for one key the later counts
    return sorted(chosen(axis, globs, composer.options(axis)))


def _fitting(composer: Composer, overrides: Sequence[Override], source: str, backbone: str) -> list[str]:
    """The words that are for a candidate: what is below `source.` and `backbone.` is for those that have the key."""
    below = [one for one in overrides if one.key_or_group.startswith(("source.", "backbone.")) and not one.is_add()]
    plain = composer.config([f"source={source}", f"backbone={backbone}"]) if below else OmegaConf.create()

    def has(key: str) -> bool:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(plain, parent)
        return isinstance(node, DictConfig) and name in list(node)  # `in` the node itself is false of ???

    return [str(one.input_line) for one in overrides if one not in below or has(one.key_or_group)]


def _bracketed(word: str) -> str:
    """A word in which globs of an axis have brackets, as one value, since Hydra reads brackets as a list."""
    key, _, globs = word.partition("=")
    return f"{key}={quoted(globs)}" if key in _AXES and "[" in globs and globs[0] not in "\"'" else word


def _whole(overrides: Iterable[Override]) -> list[str]:
    """The words, in which names with commas between them are one value."""
    found = []
    for one in overrides:
        listed = one.key_or_group in ("scores", "intervals") and one.is_choice_sweep()
        found.append(f"{one.key_or_group}='{','.join(values(one))}'" if listed else str(one.input_line))
    return found


def _check_single(overrides: Iterable[Override]) -> None:
    for one in overrides:
        if one.is_sweep_override() and (not is_listed(one) or len(values(one)) > 1):
            raise InputError(
                f"{one.get_key_element()} has several values; a ranking has several of source and backbone alone: "
                "name one, and rank once for each"
            )


def _of_run(config: DictConfig) -> DictConfig:
    """The config of a run that starts from a candidate: nothing of the ranking's own, and its names as they are."""
    own = {"hydra", "score", *(one.name for one in fields(Settings))}
    found = OmegaConf.masked_copy(config, [str(key) for key in config if key not in own])
    with open_dict(found):
        found.axes = OmegaConf.to_container(config.axes, resolve=True)
        found.trainer.update(devices=1, strategy="auto")
    return found
