"""What environment variables hold appears nowhere: planted values are looked for in every byte that commands leave."""

import gzip
import json
import zipfile
import zlib
from contextlib import suppress

import pytest
import wandb
from omegaconf import OmegaConf

from test_tracking import TINY, records
from transferlab import cli, pretraining, results, withheld
from transferlab.composing import Composer

PLANTED = "planted" + "0123456789abcdef" * 2 + "x"  # 40 characters, as a W&B key
NAMES = ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SLURM_JWT", "MADE_UP")


@pytest.fixture
def planted(monkeypatch, tmp_path):
    for number, name in enumerate(NAMES):
        monkeypatch.setenv(name, f"{PLANTED[:-1]}{number}")
    monkeypatch.setattr(withheld, "_asked", set())
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield tmp_path
    wandb.teardown()


def contents(path):
    """The bytes of a file, and those that it holds packed."""
    whole = path.read_bytes()
    yield whole
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    for unpack in (gzip.decompress, zlib.decompress):
        with suppress(OSError, zlib.error, EOFError):
            yield unpack(whole)
    if path.suffix == ".wandb":
        yield from (str(record).encode() for record in records(path))


def telling(folder):
    """Files below a folder that hold what was planted."""
    needle = PLANTED[:-1].encode()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if any(needle in content for content in contents(path))]


@pytest.mark.slow
def test_nothing_that_a_sweep_leaves_or_says_holds_a_planted_value(planted, capfd):
    words = [*TINY, "study=s", "tracker.mode=offline", "+note=${oc.env:MADE_UP}", "+copy=a ${note} b"]
    words += ["tracker.tags=['${oc.env:HF_TOKEN}']"]
    assert cli.main(["train", *words, "-m", "seed=0,1"]) == 0
    # a job that fails, with a sentence that names what it could not find
    missing = ["target=npz", "target.data.path=${oc.env:MADE_UP}/x.npz"]
    assert cli.main(["train", *words, *missing, "-m", "seed=2,3"]) == 1
    assert cli.main(["--debug", "train", *words, *missing]) == 1
    wandb.teardown()
    said = "".join(capfd.readouterr())
    assert "${oc.env:MADE_UP}/x.npz" in said
    assert PLANTED[:-1] not in said
    assert telling(planted) == []
    found = [json.loads(file.read_text()) for file in planted.rglob("run.json")]
    assert sorted(record["status"] for record in found) == ["failed"] * 3 + ["finished"] * 2
    assert {record["config"]["note"] for record in found} == {"${oc.env:MADE_UP}"}
    assert {record["config"]["copy"] for record in found} == {"a ${oc.env:MADE_UP} b"}


def composed(*lines):
    with Composer() as composer:
        config = composer.check(["source=digits", "target=digits", *lines], multirun=False).config
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def test_a_saved_config_is_the_same_run_with_the_same_id(planted):
    config = composed("+note=${oc.env:MADE_UP}", "+many=[1,{deep:'x ${oc.env:MADE_UP}'}]")
    again = OmegaConf.create(results.written(config))
    assert again.note == config.note == f"{PLANTED[:-1]}4"
    assert results.run_id(again) == results.run_id(config)
    assert PLANTED[:-1] not in json.dumps(results.written(config))


def test_another_value_is_another_run(planted, monkeypatch):
    config = composed("+note=${oc.env:MADE_UP}")
    before = results.run_id(config)
    monkeypatch.setenv("MADE_UP", "something else")
    assert results.run_id(config) != before


def test_a_decoded_value_keeps_its_kind(planted, monkeypatch):
    monkeypatch.setenv("MADE_UP", "123456789")
    config = composed()
    OmegaConf.update(config, "number", "${oc.decode:${oc.env:MADE_UP}}", force_add=True)
    written = results.written(config)
    assert "123456789" not in json.dumps(written)
    assert OmegaConf.create(written).number == 123456789


def test_the_sources_own_run_withholds_it_too(planted):
    config = composed("+source.pretrain.target.note=x ${oc.env:MADE_UP}")
    recipe = pretraining.config_of(config)
    assert recipe.target.note == f"x {PLANTED[:-1]}4"
    assert results.written(recipe)["target"]["note"] == "x ${oc.env:MADE_UP}"


def test_a_default_that_stands_in_is_written(planted, monkeypatch):
    monkeypatch.delenv("MADE_UP")
    assert results.written(composed("+note=${oc.env:MADE_UP,nothing}"))["note"] == "nothing"


def test_a_number_and_where_things_lie_are_written(planted, monkeypatch):
    monkeypatch.setenv("MADE_UP", "7")
    monkeypatch.setenv("SCRATCH_FOLDER", "/somewhere/large")
    monkeypatch.setenv("TRANSFERLAB_DATA", "/somewhere/else")
    written = results.written(composed("+number=${oc.env:MADE_UP}", "paths.runs=${oc.env:SCRATCH_FOLDER}/runs"))
    assert written["number"] == "7"
    assert written["paths"] == {"runs": "/somewhere/large/runs", "data": "/somewhere/else", "cache": "cache"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "MADE_UP"])
def test_a_key_on_the_command_line_is_refused_and_not_repeated(name, planted, capsys):
    value = f"{PLANTED[:-1]}{NAMES.index(name)}"
    assert cli.main(["train", *TINY, f"+key={value}"]) == 1
    shown = capsys.readouterr()
    assert f"write '${{oc.env:{name}}}' in its place" in shown.err
    assert value not in shown.out + shown.err
    assert not (planted / "runs").exists()


def test_what_is_hidden_can_be_shown_again(planted):
    text = f"at {PLANTED[:-1]}1/x"
    assert withheld.hidden(text) == "at ${oc.env:HF_TOKEN}/x"
    assert withheld.shown(withheld.hidden(text)) == text


def test_a_word_that_only_sounds_secret_hides_nothing(planted, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("MONKEY", "digits")
    assert withheld.hidden("digits false") == "digits false"
