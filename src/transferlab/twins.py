"""The twins of a sweep: the runs beside which it shows whether a strategy transfers or harms. No torch.

They are `scratch` (no source at all) and `linear_probe` (the source untouched), with the same seeds, labels, rates and
epochs as the strategies; where the target has no labels, `source_only`. `twins=true` runs those of them that a command
does not ask for itself.
"""

from collections.abc import Sequence

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from transferlab.composing import Composer, Plan, is_listed, values
from transferlab.errors import InputError
from transferlab.expanding import SWEEPER

TWINS = ("scratch", "linear_probe")
WITHOUT_LABELS = ("source_only",)
_BY_HAND = (
    f"leave twins out and run them by a command of their own: transferlab train -m strategy={','.join(TWINS)} ..."
)


def missing(plan: Plan) -> list[str]:
    """The twins that a command wants and does not ask for by name; none where `twins` is off.

    Raises:
        InputError: its strategy is no choice of names, or it searches instead of running what it lists.
    """
    if not OmegaConf.select(plan.config, "twins"):
        return []
    if "strategy" not in plan.config.hydra.runtime.choices:
        raise InputError(f"twins=true: this config, a saved run's perhaps, has no strategy to choose; {_BY_HAND}")
    if (sweeper := plan.config.hydra.sweeper._target_) != SWEEPER:
        raise InputError(f"twins=true: {sweeper} searches, so that there is no list for twins to share; {_BY_HAND}")
    if unlisted := [str(override.input_line) for override in plan.overrides if not is_listed(override)]:
        raise InputError(
            f"twins=true: {unlisted[0]} is searched, so that there is no list for twins to share; {_BY_HAND}"
        )
    swept = [values(override) for override in plan.overrides if override.key_or_group == "strategy"]
    asked = swept[-1] if swept else [plan.config.hydra.runtime.choices.strategy]
    return [twin for twin in _twins(plan) if twin not in asked]


def _twins(plan: Plan) -> Sequence[str]:
    swept = [values(override) for override in plan.overrides if override.key_or_group == "target.labels"]
    labels = [str(one) for one in (swept[-1] if swept else [OmegaConf.select(plan.config, "target.labels")])]
    if "none" not in labels:
        return TWINS
    if set(labels) != {"none"}:
        raise InputError(
            "twins=true: target.labels=none has another twin than the other budgets, source_only; run it by a command "
            "of its own"
        )
    return WITHOUT_LABELS


def command(composer: Composer, plan: Plan) -> list[str]:
    """The overrides of the multirun that the missing twins are; none where none is missing.

    It is the command once more, the parameters of a preset included, without anything of its strategy.

    Raises:
        InputError: as `missing`; or the config itself changes the strategies, so that a twin would be none.
    """
    if not (twins := missing(plan)):
        return []
    kept = [str(override.input_line) for override in plan.overrides if not of_strategy(override)]
    for twin in twins:
        _check_unchanged(composer, plan.overrides, twin)
    # what the preset lists is among the lines kept
    return [f"strategy={','.join(twins)}", *kept, "hydra.sweeper.params=null"]


def of_strategy(override: Override) -> bool:
    """Whether an override says something of the strategy, or how the command is run."""
    key, package = override.key_or_group, override.package or ""
    if key == "hydra.mode" or key.startswith("hydra.sweeper.params"):
        return True
    return any(f"{name}.".startswith(("strategy.", "strategy/", "axes.strategy.")) for name in (key, package))


def _check_unchanged(composer: Composer, overrides: Sequence[Override], twin: str) -> None:
    """Hold the strategy that the config makes of `strategy=TWIN` against the one of that name."""
    if composer.config_name == "train":
        return
    words = [str(override.input_line) for override in overrides if override.key_or_group == "hydra.searchpath"]
    words.append(f"strategy={twin}")
    ours, plain = (OmegaConf.to_container(composer.config(words, name=name).strategy) for name in (None, "train"))
    if ours != plain:
        raise InputError(
            f"twins=true: {composer.config_name}.yaml itself changes parts of its strategy, so that strategy={twin} "
            f"would be no twin; move these keys to hydra.sweeper.params, or {_BY_HAND}"
        )
