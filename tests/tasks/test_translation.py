import json

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForSeq2SeqLM

from transferlab import cli
from transferlab.backbones import weights
from transferlab.backbones.huggingface import seq2seq
from transferlab.data.parallel import IGNORED
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.text import TextInput
from transferlab.tasks.base import observe
from transferlab.tasks.translation import Translation

INPUT = TextInput("words", 30, 12)
T5 = {"d_model": 16, "d_kv": 4, "num_heads": 4, "d_ff": 24, "num_layers": 1}
BART = {
    **{"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4},
    **{"decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24},
}
Y = torch.tensor([[4, 7, 9, 30, IGNORED, IGNORED], [5, 30, IGNORED, IGNORED, IGNORED, IGNORED]])


def task(input=INPUT, decoder="source", beams=1, max_tokens=6, tokenize="none", label_smoothing=0.0):
    return Translation(input, decoder, beams, max_tokens, tokenize, label_smoothing, "bleu")


def published(kind, folder):
    """A whole net of the library with weights that are large enough to write this and that."""
    torch.manual_seed(0)
    small = {"t5": T5, "bart": BART}[kind]
    model = AutoModelForSeq2SeqLM.from_config(seq2seq.encoder(INPUT, kind, None, small, "mean", "sdpa").net.config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    backbone = seq2seq.encoder(INPUT, kind, str(folder), {}, "mean", "sdpa")
    backbone.cut()
    return model.eval(), backbone.eval()


@pytest.fixture(params=["t5", "bart"])
def pair(request, tmp_path):
    """The library's whole net; and our backbone and head with its weights."""
    model, backbone = published(request.param, tmp_path)
    weights.load(backbone, f"hub:{tmp_path}")
    return model, backbone, task().build_head(backbone, 0, INPUT.example(2)).eval()


def given(value):
    return {"input_ids": value.h, "attention_mask": value.mask.long()}


def test_the_loss_is_the_librarys_under_teacher_forcing(pair):
    model, backbone, head = pair
    value = INPUT.example(2)
    outputs = observe(backbone, head, value)[2]
    torch.testing.assert_close(outputs.logits(Y), model(**given(value), labels=Y).logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(task().loss(outputs, Y), model(**given(value), labels=Y).loss)


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_is_what_the_whole_net_writes(pair, beams):
    model, backbone, _ = pair
    head = task(beams=beams).build_head(backbone, 0, INPUT.example(2)).eval()
    value = INPUT.example(4)
    written = observe(backbone, head, value)[2].written
    model.generation_config = head.net.generation_config
    expected = model.generate(**given(value))[:, 1:]
    real = written != IGNORED
    assert torch.equal(written[real], expected[real])
    for row, kept in zip(expected, real, strict=True):
        ends = (row == INPUT.end).nonzero()[:, 0].tolist()
        assert kept.sum() == (ends[0] + 1 if ends else len(row))


def test_greedy_writing_takes_the_likeliest_token_at_each_step(pair):
    _, backbone, head = pair
    outputs = observe(backbone, head, INPUT.example(3))[2]
    written = outputs.written
    likeliest = outputs.logits(written).argmax(2)
    assert torch.equal(likeliest[written != IGNORED], written[written != IGNORED])
    assert torch.equal(observe(backbone, head, INPUT.example(3))[2].written, written)


def test_columns_that_are_empty_in_a_batch_change_no_loss(pair):
    _, backbone, head = pair
    outputs = observe(backbone, head, INPUT.example(2))[2]
    assert torch.equal(task().loss(outputs, Y), task().loss(outputs, Y[:, :4]))


def test_label_smoothing_is_torchs(pair):
    _, backbone, head = pair
    outputs = observe(backbone, head, INPUT.example(2))[2]
    known = Y != IGNORED
    expected = functional.cross_entropy(outputs.logits(Y)[known], Y[known], label_smoothing=0.1)
    torch.testing.assert_close(task(label_smoothing=0.1).loss(outputs, Y), expected)


def test_texts_are_without_marks_and_padding(pair):
    _, backbone, head = pair
    said, wanted = task().scored(observe(backbone, head, INPUT.example(2))[2], Y)
    assert wanted == ["4 7 9", "5"]
    assert len(said) == 2


def test_a_decoder_is_random_without_a_source_and_where_that_is_wanted(tmp_path):
    model, backbone = published("t5", tmp_path)
    table = model.state_dict()["shared.weight"]

    def start(decoder):
        return task(decoder=decoder).build_head(backbone, 0, INPUT.example(2)).net.state_dict()["shared.weight"]

    assert not torch.equal(start("source"), table)
    weights.load(backbone, f"hub:{tmp_path}")
    assert torch.equal(start("source"), table)
    assert not torch.equal(start("new"), table)


def test_backbone_and_head_share_no_parameter(pair):
    _, backbone, head = pair
    ours = {parameter.data_ptr() for parameter in backbone.parameters()}
    assert not ours & {parameter.data_ptr() for parameter in head.parameters()}


def test_a_frozen_encoder_leaves_only_the_decoder_to_train(pair):
    _, backbone, head = pair
    backbone.set_trainable([])
    task().loss(observe(backbone, head, INPUT.example(2))[2], Y).backward()
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"input": ArrayInput.of(3, 8, 8)}, r"reads texts, the backbone takes images: choose backbone=t5"),
        ({"decoder": "old"}, r"no task\.decoder 'old'"),
        ({"beams": 0}, r"task\.beams=0 task\.max_tokens=6: at least 1 each"),
        ({"tokenize": "14a"}, r"no task\.tokenize '14a'; did you mean '13a'"),
        ({"label_smoothing": 1.0}, r"task\.label_smoothing=1\.0: a share"),
    ],
)
def test_settings_that_do_not_fit_end_with_a_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence):
        task(**change)


def test_without_sacrebleu_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr("transferlab.tasks.translation.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'transferlab\[translation\]'"):
        task()


def test_classes_are_nothing_to_write():
    with pytest.raises(InputError, match=r"takes a text to write for each sample.*choose target=parallel_text"):
        task().fit(torch.zeros(4, 1, dtype=torch.int64), 3)
    with pytest.raises(InputError, match=r"these labels are numbers"):
        task().fit(torch.zeros(4, 1), 0)


@pytest.fixture(scope="module")
def reversals(tmp_path_factory):
    """Pairs of two to four letters and the same backwards."""
    folder = tmp_path_factory.mktemp("reversals")
    rng = np.random.default_rng(0)
    drawn = sorted({" ".join(rng.choice(list("abcdef"), rng.integers(2, 5))) for _ in range(3000)})
    rows = [f"{text}\t{text[::-1]}" for text in rng.permutation(drawn)]
    for name, part in (("train", rows[:900]), ("test", rows[900:1000])):
        (folder / f"{name}.tsv").write_text("\n".join(["source\ttarget", *part]) + "\n")
    return folder


def command(folder, *words):
    assert (
        cli.main(
            [
                *("train", "task=translation", "target=parallel_text", "backbone=t5", "tracker=none"),
                *(f"target.data.path={folder / 'train.tsv'}", f"target.data.test={folder / 'test.tsv'}"),
                *("input@backbone.input=words", "backbone.input.buckets=90", "backbone.input.max_length=12"),
                "++backbone.architecture={d_model:64,d_kv:16,num_heads:4,d_ff:128,num_layers:2,dropout_rate:0.0}",
                *("optimizer=adam", "optimizer.lr=0.003", "task.max_tokens=6", "trainer.accelerator=cpu"),
                *("task.metric=chrf", f"paths.runs={folder / 'runs'}", f"paths.cache={folder}", *words),
            ]
        )
        == 0
    )


def records(folder):
    return [json.loads(file.read_text()) for file in (folder / "runs" / "default").glob("*/run.json")]


@pytest.mark.slow
def test_the_command_learns_to_write_backwards(reversals):
    command(reversals, "source=none", "strategy=full_finetune", "trainer.max_epochs=14")
    (record,) = records(reversals)
    first, last = record["history"][0]["val/chrf"], record["metrics"]["selected"]["test/chrf"]
    assert last > 60 > 1.4 * first


@pytest.mark.slow
def test_the_decoder_of_a_source_is_ahead_of_a_new_one(reversals):
    source = [
        *("source=parallel_text", "source.pretrain.max_epochs=5", "source.pretrain.optimizer.lr=0.003"),
        *(f"source.pretrain.target.data.path={reversals / 'train.tsv'}", "source.pretrain.task.max_tokens=6"),
        f"source.pretrain.target.data.test={reversals / 'test.tsv'}",
    ]
    for decoder in ("source", "new"):
        command(reversals, *source, "strategy=linear_probe", "trainer.max_epochs=1", f"task.decoder={decoder}")
    found = {r["config"]["task"]["decoder"]: r for r in records(reversals) if r["axes"]["strategy"] == "linear_probe"}
    scores = {decoder: record["metrics"]["selected"]["test/loss"] for decoder, record in found.items()}
    assert scores["source"] < scores["new"]
    assert found["source"]["history"][0]["trainable"] == ["head"]
