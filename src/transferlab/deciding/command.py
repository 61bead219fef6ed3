"""`transferlab select`: look at what is asked, search, confirm, tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from rich.console import Console

from transferlab import jobs, parsers, results, withheld
from transferlab.composing import Composer
from transferlab.deciding import hindsight, telling
from transferlab.deciding.asking import Asked, asked
from transferlab.deciding.climbing import Climb, Journal
from transferlab.deciding.confirming import confirm
from transferlab.deciding.pairing import paired
from transferlab.deciding.spending import pretraining_seconds, spent
from transferlab.errors import InputError
from transferlab.files import check_writable
from transferlab.halving.brackets import bracket
from transferlab.halving.search import Purse, Search, search
from transferlab.trust import trust


@dataclass(frozen=True)
class Options:
    """What a selection is asked for.

    Attributes:
        overrides: of Hydra; lists of values make candidates.
        config_name: of the config that it starts from.
        config_dir: a folder of one's own configs.
        trust: packages whose code they may name.
    """

    overrides: Sequence[str]
    config_name: str
    config_dir: str | None
    trust: Sequence[str]


def options(words: Sequence[str]) -> Options | hindsight.Options:
    """The options of a command line; another set of them looks back.

    Raises:
        InputError: no such flag, or a word that holds a key.
    """
    if any(word.partition("=")[0] == hindsight.FLAG for word in words):
        return hindsight.options(words)
    withheld.check(words)
    parser = parsers.of("select", "Which source, backbone, strategy and rate to take, found within a budget.")
    add = parser.add_argument
    add(
        "overrides", nargs="*", metavar="KEY=A,B", help="as in train -m; what is listed makes candidates; budget.runs=8"
    )
    add("--config-name", default="select", metavar="N", help="start from N.yaml instead of select.yaml")
    add("--config-dir", metavar="D", help="add a folder of your own configs")
    add(hindsight.FLAG, metavar="STUDY", help="what selecting would have cost in a study that ran everything")
    parsers.add_trust(parser)
    found = vars(parser.parse_intermixed_args(list(words)))
    del found[hindsight.FLAG.strip("-")]
    return Options(**found)


def select(asked_for: Options | hindsight.Options) -> None:
    """Choose, and leave the config of what is chosen; or look back at a study.

    Raises:
        InputError: nothing to choose from, a budget that is too small, or candidates none of which can be trained.
    """
    if isinstance(asked_for, hindsight.Options):
        hindsight.look_back(asked_for)
        return
    trust(asked_for.trust)
    with Composer(asked_for.config_name, asked_for.config_dir) as composer:
        plan = composer.check(asked_for.overrides, multirun=True)
        question = asked(composer, plan)
        check_writable(plan.study)
        rule_name = str(HydraConfig.get().runtime.choices["selection"])
        folder = question.study / hindsight.FOLDER / question.identity
        with results.held(folder, f"waiting for another process that selects the same ({folder})"):
            decision = _decided(composer, question, rule_name, folder)
            written = telling.write(decision, folder)
    console = Console(width=None if Console().is_terminal else 160)
    telling.show(decision, console)
    for what, where in written.items():
        console.print(f"{what:6s} {where}", soft_wrap=True, markup=False, highlight=False)


def _decided(composer: Composer, question: Asked, rule_name: str, folder: Path) -> telling.Decision:
    from transferlab import nodes
    from transferlab.environment import quiet
    from transferlab.halving.judging import check

    quiet()
    rule = nodes.build(question.config.selection)
    check(rule)
    jobs.begin()
    journal = Journal.of(folder / "journal.json")
    entering, pairs = paired(question, composer, journal)
    named = {one.name: one for one in entering.candidates}
    climb = Climb(composer, question.hydra, named, rule, question.whole, journal)
    found = _searched(entering, climb, lambda: pretraining_seconds(question) + (pairs.seconds if pairs else 0.0))
    outcome = confirm(entering, climb, found)
    cost = spent(question, found, outcome.finalists.values(), pairs)
    return telling.Decision(question, len(named), rule_name, found, outcome, cost, pairs)


def _searched(entering: Asked, climb: Climb, before: Callable[[], float]) -> Search:
    """What the budget finds; where it is one of seconds, the first epochs of two candidates say what it has.

    Args:
        entering: the candidates.
        climb: trains them.
        before: seconds that were spent before the search.
    """
    choice, names, told = entering.choice, [one.name for one in entering.candidates], climb.journal.told
    epochs, purse = entering.budget.in_epochs(entering.whole), None
    if epochs is None:
        left = float(climb.journal.keep("seconds", lambda: _left(entering, climb, before)))
        epochs, purse = left / float(told["pace"]), Purse(seconds=left)
    plan = bracket(len(names), entering.whole, epochs, choice.factor, min(choice.first, entering.whole))
    twins = {one.name for one in entering.candidates if one.twin}
    return search(names, twins, climb, plan, purse or Purse(epochs=epochs))


def _left(entering: Asked, climb: Climb, before: Callable[[], float]) -> float:
    """Seconds that are left for the search; notes what an epoch takes.

    Raises:
        InputError: none are.
    """
    other = next(one.name for one in entering.candidates if not one.twin)
    tried = climb([entering.candidates[0].name, other], 1)
    pace = sum(one.seconds for one in tried.values()) / max(sum(one.epochs for one in tried.values()), 1)
    climb.journal.told["pace"] = max(pace, 1e-6)
    budget, gone = float(entering.budget.seconds or 0), before()
    if gone >= budget:
        raise InputError(
            f"budget.seconds={budget:g}: pretraining and scores of the sources alone take {gone:.0f} seconds"
        )
    return budget - gone
