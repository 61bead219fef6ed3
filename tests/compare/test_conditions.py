import numpy as np
import pytest

from transferlab.compare.conditions import check_keys, condition
from transferlab.compare.records import load
from transferlab.compare.runs import Curves, Run
from transferlab.errors import InputError

CONFIG = {
    "optimizer.lr": 0.1,
    "target.labels": 10,
    "target.folds": None,
    "oracle": False,
    "twins": True,
    "backbone.widths": "[4, 8]",
    "note": "a=b",
}
RUN = Run(
    run_id="0123456789",
    where="here",
    study="first",
    axes={"source": "none", "target": "digits", "strategy": "l2_sp", "backbone": "mlp", "seed": 3},
    config=CONFIG,
    metrics={},
    cost={"seconds": 9.5, "flops": None},
    forgetting=None,
    curves=Curves(np.array([], int), {}, (), {}),
)


def holds(text):
    found = condition(text)
    check_keys(text, [RUN])
    return found(RUN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed=3", True),
        ("seed==3", True),
        ("seed = 4", False),
        ("seed!=3", False),
        ("seed != 4", True),
        ("seed<3", False),
        ("seed<=3", True),
        ("seed>3", False),
        ("seed>=3", True),
        ("2<seed<=3", True),
        ("seed = -3", False),
        ("target.labels=10", True),
        ("optimizer.lr=1e-1", True),
        ("optimizer.lr<0.2", True),
        ("cost.seconds > 9", True),
        ("strategy=l2_sp", True),
        ("strategy = 'l2_sp'", True),
        ('strategy = "joint"', False),
        ("strategy in [l2_sp, scratch]", True),
        ("strategy in (joint, scratch)", False),
        ("strategy not in [joint, scratch]", True),
        ("strategy not in [l2_sp]", False),
        ("'l2' in strategy", None),
        ("seed in [1, 2, 3]", True),
        ("study=first", True),
        ("run_id='0123456789'", True),
        ("backbone.widths=[4, 8]", True),
        ("backbone.widths=[8, 8]", False),
        ("backbone.widths!=[8, 8]", True),
        ("note='a=b'", True),
        ('note="a=b"', True),
        ("note='a==b'", False),
    ],
)
def test_a_comparison_says_what_it_says_in_python(text, expected):
    if expected is None:
        # what stands left must be a key or a value; a quoted word is a value, and may be part of a name
        assert holds(text) is True
    else:
        assert holds(text) is expected


@pytest.mark.parametrize("first", ["seed=3", "seed=4"])
@pytest.mark.parametrize("second", ["target=digits", "target=usps"])
def test_and_or_and_not_are_pythons(first, second):
    a, b = first == "seed=3", second == "target=digits"
    assert holds(f"{first} and {second}") == (a and b)
    assert holds(f"{first} or {second}") == (a or b)
    assert holds(f"not {first} and {second}") == (not a and b)
    assert holds(f"not ({first} or {second})") == (not (a or b))
    assert holds(f"{first} or {first} and {second}") == a


@pytest.mark.parametrize("nothing", ["none", "null", "None"])
def test_nothing_has_three_names(nothing):
    assert holds(f"target.folds={nothing}")
    assert not holds(f"target.folds!={nothing}")
    assert not holds(f"target.labels={nothing}")
    assert holds(f"target.folds in [{nothing}, 5]")
    assert not holds(f"target.folds not in [{nothing}, 5]")


def test_none_is_a_name_where_a_run_has_it_as_one():
    assert holds("source=none")
    assert not holds("source!=none")
    assert not holds("source=null")


def test_truth_is_written_as_in_yaml_or_python():
    assert holds("oracle=false") and holds("oracle=False") and holds("not oracle") and holds("twins")
    assert not holds("oracle=true") and not holds("oracle")


def test_what_a_run_does_not_have_is_neither_less_nor_more():
    assert not holds("cost.flops<1")
    assert not holds("cost.flops>=1")


@pytest.mark.parametrize("text", ["sead=3", "not sead", "seed=3 and sead=4", "seed=3 or (sead<4)"])
def test_an_unknown_key_is_named_with_the_nearest(text):
    with pytest.raises(InputError, match=r"no key for --where 'sead'; did you mean 'seed'"):
        holds(text)


def test_an_unknown_dotted_key_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"'optimizer.rl'; did you mean 'optimizer.lr'"):
        holds("optimizer.rl=0.1")


@pytest.mark.parametrize("text", ["seed<abc", "strategy>3", "-strategy=3", "4 in seed", "4 in strategy"])
def test_things_of_different_kinds_raise_a_sentence(text):
    with pytest.raises(InputError, match="compares things of different kinds"):
        holds(text)


@pytest.mark.parametrize(
    "text", ["", " ", "seed=", "= 3", "seed = = 3", "seed 3", "seed=3;seed=4", "a:=3", "import os", "\0"]
)
def test_what_is_no_expression_raises_a_sentence(text):
    with pytest.raises(InputError, match=r"is no condition: write e\.g\."):
        condition(text)


@pytest.mark.parametrize(
    "text", ["not " * 5_000 + "seed", "-" * 100_000 + "1=seed", "(" * 1_000 + "seed" + ")" * 1_000]
)
def test_what_is_too_deep_to_read_raises_a_sentence(text):
    with pytest.raises(InputError, match="is no condition"):
        condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "print(1)",
        "__import__('os').system('true')",
        "seed.__class__()",
        "'abc'.upper == 1",
        "(seed==3).real",
        "[1].append == 2",
        "seed[0] == 1",
        "[s for s in seed] == 1",
        "lambda: 1",
        "f'{seed}' == 1",
        "seed if oracle else 3",
        "seed + 1 == 4",
        "9**9**9 == 1",
        "seed is 3",
        "{1: 2} == 3",
        "{1} == 3",
        "~seed == 3",
        "(yield) == 3",
        "[*seed] == 3",
    ],
)
def test_nothing_but_keys_values_and_comparisons_is_understood(text):
    with pytest.raises(InputError, match=r"only keys, values|is no condition"):
        condition(text)


def test_an_attribute_of_a_value_is_a_key_that_no_run_has():
    with pytest.raises(InputError, match=r"no key for --where 'seed.__class__'"):
        holds("seed.__class__ = 3")


def test_runs_that_the_condition_does_not_hold_for_are_counted(tmp_path, write_run):
    for seed in range(4):
        write_run(seed=seed, score=seed / 10)
    study = load([tmp_path], None, where="seed<2 or seed=3")
    assert sorted(study.table["score"]) == [0.0, 0.1, 0.3]
    assert [(item.kind, item.reason) for item in study.left_out] == [("not asked for", "seed<2 or seed=3")]


def test_a_condition_that_no_run_meets_is_named(tmp_path, write_run):
    write_run()
    with pytest.raises(InputError, match="has seed>7"):
        load([tmp_path], None, where="seed>7")


def test_a_condition_on_labels_leaves_one_budget(tmp_path, write_run):
    for labels in (5, 10):
        for strategy in ("scratch", "l2_sp"):
            write_run(strategy, config={"target": {"labels": labels}})
    assert set(load([tmp_path], None, where="target.labels=5").table["target"]) == {"digits"}
