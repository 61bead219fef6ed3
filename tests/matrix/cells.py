"""The cells of the coverage matrix: every strategy x backbone family x task, read from `conf`, so that new parts enter
by themselves.

A family is what one builder builds; its smallest member stands for it. A cell is run by the real command, two steps of
training and a test, or has a reason why there is nothing to run.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from sets import MAKERS, SIDE, Set, draw

from transferlab import cli, results
from transferlab.composing import Composer
from transferlab.folders import shipped

CONF = shipped("conf")
BATCH = 8  # of 16 samples: two steps
IMAGE = (f"backbone.input.shape=[3,{SIDE},{SIDE}]",)
WORDS = ("input@backbone.input=words", "backbone.input.buckets=50", "backbone.input.max_length=12")
BLOCKS = "{num_hidden_layers:2,hidden_size:16,num_attention_heads:2,intermediate_size:32}"
DINO = "{num_hidden_layers:2,hidden_size:16,num_attention_heads:2,patch_size:8}"
TOWERS = (
    *("backbone@backbone.image=convnet", "backbone.image.widths=[4,6]", "backbone.image.input.shape=[1,16,16]"),
    *("backbone@backbone.text=gru", "backbone.text.hidden=6", "backbone.text.embedding=5"),
    *("input@backbone.text.input=words", "backbone.text.input.buckets=50"),
)
T5 = "{num_layers:2,d_model:16,d_kv:4,num_heads:4,d_ff:24}"
BOTH = "{encoder_layers:2,decoder_layers:2,d_model:16,encoder_attention_heads:2,decoder_attention_heads:2,"
BOTH += "encoder_ffn_dim:24,decoder_ffn_dim:24}"
WAVES = BLOCKS[:-1] + ",conv_dim:[8,8],conv_stride:[20,16],conv_kernel:[20,16],num_conv_pos_embeddings:4,"
WAVES += "num_conv_pos_embedding_groups:2}"

# What makes a family small where its first yaml would make two steps long: the member, and what is overridden. A family
# that is not here enters by its first member, on 32 pixels if it takes images.
SMALL: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "small.convnet": (None, (*IMAGE, "backbone.widths=[4,6]")),
    "small.mlp": (None, (*IMAGE, "backbone.widths=[6,5]")),
    "small.embeddings": (None, ("backbone.dimensions=4", "backbone.input.users=6", "backbone.input.items=5")),
    "autoencoder.autoencoder": (None, (*IMAGE, "backbone.widths=[4,6]", "backbone.code=5")),
    "recurrent.recurrent": (None, ("backbone.hidden=6", "backbone.input.channels=2")),
    "conv1d.conv1d": (None, ("backbone.widths=[4,6]", "backbone.input.channels=2")),
    "timm.named": ("timm", (*IMAGE, "backbone.name=test_resnet")),
    "torchvision.efficientnet": ("efficientnet_b0", IMAGE),
    "torchvision.mobilenet_v3": ("mobilenet_v3_small", IMAGE),
    "torchvision.regnet": ("regnet_y_400mf", IMAGE),
    "torchvision.resnet": ("resnet18", IMAGE),
    "torchvision.swin": ("swin_t", IMAGE),
    "torchvision.vgg": ("vgg11", (*IMAGE, "backbone.pooling=mean")),
    "torchvision.vit": ("vit_b_32", (*IMAGE,)),
    "torchvision.convnext": ("convnext_tiny", IMAGE),
    "torchvision.densenet": ("densenet121", IMAGE),
    "cifar.resnet": ("cifar_resnet20", IMAGE),
    "huggingface.text.encoder": (None, (*WORDS, f"backbone.architecture={BLOCKS}")),
    "huggingface.text.encoder distilbert": (
        None,
        (*WORDS, "backbone.architecture={n_layers:2,dim:16,n_heads:2,hidden_dim:32}"),
    ),
    "huggingface.text.decoder": (None, (*WORDS, "backbone.architecture={n_layer:2,n_embd:16,n_head:2}")),
    "two_tower.two_tower": (None, TOWERS),
    "huggingface.seq2seq.encoder": (None, (*WORDS, f"backbone.architecture={BOTH}")),
    "huggingface.seq2seq.encoder t5": (None, (*WORDS, f"backbone.architecture={T5}")),
    "huggingface.vision.tower": (None, (*IMAGE, f"backbone.architecture={BLOCKS[:-1]},patch_size:8}}")),
    "huggingface.vision.tower dinov2": (None, (*IMAGE, f"backbone.architecture={DINO}")),
    "huggingface.audio.waves": (None, (f"backbone.architecture={WAVES}",)),
    "huggingface.audio.ast": (None, (f"backbone.architecture={BLOCKS}", "backbone.input.seconds=0.355")),
}
# Builders that take more than one kind of input: what else stands for them.
BESIDE: dict[str, tuple[str, ...]] = {
    "small.convnet": ("input@backbone.input=log_mel", "backbone.input.seconds=0.3", "backbone.widths=[4,6]"),
    "small.mlp": ("input@backbone.input=table", "backbone.input.shape=[6]", "backbone.widths=[6,5]"),
    "recurrent.recurrent": (*WORDS, "backbone.hidden=6", "backbone.embedding=5"),
    "conv1d.conv1d": ("input@backbone.input=mel_frames", "backbone.widths=[4,6]"),
    "autoencoder.autoencoder": (
        *("input@backbone.input=table", "backbone.input.shape=[6]"),
        *("backbone.widths=[6]", "backbone.code=5"),
    ),
}
# What a task needs that not every kind of data has.
NEEDS = {
    "rating": "users and items",
    "retrieval": "pairs of an image and a text",
    "prompted": "pairs of an image and a text",
    "open_set": "one class a sample",
    "token_classification": "a label for each word of a text",
    "translation": "pairs of texts",
    "segmentation": "a mask for each image",
    "detection": "boxes in images",
    "reconstruction": "inputs of one shape, images or tables",
}
# Tasks of strategies that are not for all, and why.
VECTORS = ("classification", "binary", "multilabel", "regression")
CLAIMS: dict[str, tuple[tuple[str, ...], str]] = {
    "semantic_alignment": (("classification", "binary"), "it needs one class a sample, with a name"),
    "semantic_loss": (("classification", "binary", "multilabel"), "it needs a logit for each class"),
    "kd": (("classification",), "it needs a teacher that answers with one class out of several"),
    "lwf": (("classification",), "it needs a teacher that answers with one class out of several"),
    "co_tuning": (("classification",), "it needs a source that answers with one class out of several"),
    "ewc": (("classification",), "it needs a source that answers with one class out of several"),
    "linear_probe_lbfgs": (VECTORS, "it solves for a linear head on one vector a sample"),
    "bi_tuning": (("classification",), "it needs one class a sample and a head of one vector a class"),
    "osbp": (("open_set",), "it needs a class of what the source does not know"),
    **dict.fromkeys(
        ("bss", "crd", "delta", "rkd", "spkd", "fitnets", "attention_transfer"),
        (VECTORS, "it is tried on tasks of one vector a sample"),
    ),
}
# Strategies that take no steps: their head is solved for, or a classifier on features answers in its place.
SHALLOW = ("nearest", "coral", "tca", "jda", "subspace_alignment", "kmm", "ulsif")
SOLVED = ("linear_probe_lbfgs", *SHALLOW)
# It steps as what it chooses does, after it has searched: tests/test_automatic.py interrupts that.
CHOOSES = ("auto",)
# Strategies of domain adaptation: all but these read classes, of the source or predicted.
ADAPTS_FEATURES = ("source_only", "dan", "deep_coral", "cmd", "afn", "dann", "wdgrl", "adda", "adabn")
# Of the others, those to whom a pixel or a word is a sample.
BY_PLACE = ("bnm", "entropy", "mcc", "pseudo_label")
PLACES = ("segmentation", "token_classification")
# A net that a task cannot stand on: (task, how the builder's name begins), and why.
GAPS: dict[tuple[str, str], str] = {
    ("segmentation", "small.mlp"): "an mlp has no maps",
    ("detection", "small.mlp"): "an mlp has no maps",
}
# Nets without BatchNorm, by how the builder's name begins; the autoencoder of tables beside them.
NO_BATCHNORM = (
    *("huggingface", "recurrent", "small.mlp", "small.embeddings"),
    *("torchvision.convnext", "torchvision.swin", "torchvision.vgg", "torchvision.vit"),
)
# What of a net an adapter works on, where the net has none of it, by how the builder's name begins.
LACKING = (
    (("lora", "dora", "ia3"), ("recurrent", "small.embeddings"), "it adapts linear layers and convolutions"),
    (("adapter",), ("small.embeddings",), "it adapts stages that give one tensor"),
    (("ia3",), ("conv1d",), "it scales linear layers and convolutions of two dimensions"),
    (
        ("norm_tuning", "tent"),
        ("recurrent", "small.mlp", "small.embeddings", "torchvision.vgg"),
        "it trains norms, and this net has none",
    ),
    (
        ("bitfit",),
        ("small.embeddings", "huggingface.seq2seq.encoder t5"),
        "it trains biases, and this net has none",
    ),
    (
        SOLVED,
        ("huggingface.audio.waves",),
        "what this net makes of a sample depends on how far it is padded",
    ),
)
# Nets whose stages attend over one sequence of tokens, by how the builder's name begins.
BLOCKS_OF_TOKENS = ("huggingface.", "torchvision.vit")
# What makes a task small.
EXTRA = {"detection": ("task.channels=64", "task.convolutions=1"), "translation": ("task.max_tokens=6",)}
# What holds labels out to choose by.
HELD_OUT = {"auto": ("target.validation=0.25", "selection=target_val")}
# What a strategy must be given.
GIVEN = {
    "delta": ("strategy.losses.delta.samples=1",),  # on which each channel of each stage is switched off once
    "semantic_loss": ("strategy.losses.semantic_loss.rules=[{excludes:[0,1]}]",),
    "linear_probe_lbfgs": ("strategy.solver.penalties=[0.1]", "strategy.solver.iterations=2"),
    **dict.fromkeys(("tca", "jda", "subspace_alignment"), ("strategy.solver.adapt.components=2",)),
    "osbp": ("target.label_space=open",),
    "plateau_unfreezing": ("strategy.freezing.metric=train/task_loss",),  # no cell of it holds labels out
    "auto": (
        *(f"~strategy.candidates.{name}" for name in ("linear_probe", "lp_ft", "l2_sp")),
        "strategy.rates=[]",
    ),  # of scratch and full_finetune, two steps each
    # their frozen BatchNorm normalises by statistics of a source of two steps, and numbers grow from layer to layer
    **dict.fromkeys(("lora", "dora", "ia3", "adapter", "vpt", "residual_adapter"), ("optimizer.lr=0.0001",)),
}
# What a net must be given: with random weights its gradients are in the thousands.
CALM = {"torchvision.regnet": ("optimizer.lr=0.0001",)}
# What has a schedule move, or an average begin, within the first two epochs, where its yaml has that later.
EARLY = {
    "chain_thaw": ("strategy.freezing.every=1",),
    "gradual_unfreezing": ("strategy.freezing.every=1",),
    "lp_ft": ("strategy.freezing.probe_epochs=1",),
    "milestones": ("~strategy.freezing.at.10", '+strategy.freezing.at.1=["*"]'),
    "plateau_unfreezing": ("strategy.freezing.patience=1", "strategy.freezing.min_delta=9"),
    "swa": ("strategy.averaging.start=0.3",),
    "wise_ft": ("strategy.freezing.probe_epochs=1",),
}

KINDS = {
    "TextInput": "texts",
    "WaveInput": "sound",
    "MelInput": "sound",
    "SeriesInput": "series",
    "IdsInput": "ids",
    "PairInput": "pairs",
}


@dataclass(frozen=True)
class Family:
    """What one builder builds, in its smallest member.

    Attributes:
        builder: the `_target_`, and the kind of net where one builder knows several.
        member: an option of `backbone=`.
        kind: of the data that it takes.
        overrides: that make it small.
    """

    builder: str
    member: str
    kind: str
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.member} on {self.kind}"


@dataclass(frozen=True)
class Cell:
    strategy: str
    family: Family
    task: str

    @property
    def name(self) -> str:
        return f"{self.strategy}-{self.family.name}-{self.task}".replace(" ", "_")


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if not file.name.startswith("_"))


def stepping() -> list[str]:
    """The strategies that take steps."""
    return [name for name in options("strategy") if not solves(name) and name not in CHOOSES]


def drawn(size: int, of: Sequence[Any]) -> list[Any]:
    """Some of them by the day's seed, in their order; all with TRANSFERLAB_MATRIX_WHOLE=1."""
    seed = os.environ.get("TRANSFERLAB_TEST_SEED")
    if seed is None or os.environ.get("TRANSFERLAB_MATRIX_WHOLE") or size >= len(of):
        return list(of)
    return [of[place] for place in sorted(random.Random(int(seed)).sample(range(len(of)), size))]


@cache
def families() -> tuple[Family, ...]:
    """Every builder of `conf/backbone`, on every kind of input that stands for it."""
    with Composer() as composer:

        def family(key: str, member: str, overrides: tuple[str, ...]) -> Family:
            input = composer.config(overrides, name=f"backbone/{member}").backbone.input
            return Family(key, member, kind(input), overrides)

        found = []
        for key, first in sorted(builders(composer).items()):
            builder = key.partition(" ")[0]
            member, overrides = SMALL.get(key) or SMALL.get(builder) or (None, None)
            if overrides is None:
                overrides = IMAGE if family(key, first, ()).kind == "images" else ()
            found.append(family(key, member or first, overrides))
            if builder in BESIDE:
                found.append(family(key, member or first, BESIDE[builder]))
        return tuple(found)


def builders(composer: Composer) -> dict[str, str]:
    """The first yaml of every builder, and of every kind of net that a builder tells apart."""
    first: dict[str, str] = {}
    for member in options("backbone"):
        node = composer.config([], name=f"backbone/{member}").backbone
        key = [
            str(node._target_).removeprefix("transferlab.backbones."),
            str(node.get("kind") or node.get("cell") or ""),
        ]
        first.setdefault(" ".join(key).strip(), member)
    return first


def kind(input: DictConfig) -> str:
    """Of data, by what a backbone takes."""
    name = str(input._target_).rpartition(".")[2]
    return KINDS[name] if name in KINDS else "tables" if len(input.shape) == 1 else "images"


def cells() -> Iterator[Cell]:
    for family in families():
        for task in options("task"):
            for strategy in options("strategy"):
                yield Cell(strategy, family, task)


def gap(cell: Cell) -> str | None:
    """Why there is nothing to run; None where there is."""
    if (cell.family.kind, cell.task) not in MAKERS:
        return (
            f"it needs {NEEDS[cell.task]}" if cell.task in NEEDS else f"no reader of {cell.family.kind} has such labels"
        )
    tasks, reason = CLAIMS.get(cell.strategy) or adapted_tasks(cell)
    if cell.task not in tasks:
        return reason
    if cell.task == "translation" and "seq2seq" not in cell.family.builder:
        return "it needs the encoder of an encoder-decoder"
    if cell.strategy == "attention_transfer" and _has_one_position(cell.family):
        return "it needs a stage with two positions or more"
    for strategies, builders, reason in LACKING:
        if cell.strategy in strategies and cell.family.builder.startswith(builders):
            return reason
    if cell.task == "open_set" and cell.strategy != "osbp":
        return "a class of what the source does not know is nothing to it"
    if cell.strategy in ("fixmatch", "mean_teacher") and cell.family.kind != "images":
        return "its second view of a sample is an image, changed strongly"
    if cell.strategy in ("norm_tuning", "tent") and (cell.family.member, cell.family.kind) == ("autoencoder", "tables"):
        return "it trains norms, and this net has none"
    if cell.strategy in ("stochnorm", "adabn") and not _has_batchnorm(cell.family):
        return "it changes BatchNorm, and this net has none"
    if cell.strategy == "vpt" and not cell.family.builder.startswith(BLOCKS_OF_TOKENS):
        return "it needs blocks that attend over one sequence of tokens"
    if cell.strategy == "residual_adapter" and not _has_kernels(cell.family):
        return "it needs convolutions of two dimensions with a kernel above 1"
    for (task, builder), reason in GAPS.items():
        if task == cell.task and cell.family.builder.startswith(builder):
            return reason
    return None


@cache
def node_of(strategy: str) -> DictConfig:
    with Composer() as composer:
        found: DictConfig = composer.config([f"strategy={strategy}"]).strategy
        return found


def solves(strategy: str) -> bool:
    return node_of(strategy).get("solver") is not None


def adapts(strategy: str) -> bool:
    """Whether a strategy is there for targets without labels."""
    if strategy in CHOOSES:
        return False
    node = node_of(strategy)
    losses = [str(loss._target_) for loss in node.losses.values()]
    return node.target_labels == "unused" or any(".losses.domains." in one for one in losses)


def adapted_tasks(cell: Cell) -> tuple[tuple[str, ...], str]:
    if not adapts(cell.strategy):
        return (cell.task,), ""
    if cell.strategy in ADAPTS_FEATURES:
        return (*VECTORS, *PLACES, "detection"), "it is tried on tasks of classes, numbers, masks, boxes and words"
    if cell.strategy in BY_PLACE:
        return ("classification", *PLACES), "it reads what the net takes for the class of a sample, a pixel or a word"
    return ("classification",), "it adapts a head that tells classes apart"


def _has_batchnorm(family: Family) -> bool:
    return not family.builder.startswith(NO_BATCHNORM) and (family.member, family.kind) != ("autoencoder", "tables")


def _has_kernels(family: Family) -> bool:
    """Transformers for images and spectra have them too: their patches are one such convolution."""
    on_images = family.kind in ("images", "pairs") and family.member != "mlp"
    return on_images or (family.kind == "sound" and family.member in ("convnet", "ast"))


def _has_one_position(family: Family) -> bool:
    """Tables, ids, pairs and mlps give vectors; an image of 32 pixels is one patch of ViT-B/32."""
    return family.kind in ("tables", "ids", "pairs") or family.member in ("mlp", "vit_b_32")


def alone(strategy: str) -> Cell:
    """Where a strategy is looked at by itself: a convnet that classifies images, a ViT, or the first cell it claims."""
    small = {"small.convnet": "convnet", "huggingface.vision.tower": "vit"}
    nets = [Family(builder, member, "images", SMALL[builder][1]) for builder, member in small.items()]
    known = (Cell(strategy, net, "classification") for net in nets)
    return next(cell for cell in chain(known, cells()) if cell.strategy == strategy and gap(cell) is None)


def command(cell: Cell, folder: Path, *more: str) -> list[str]:
    """The words of the real command: two steps of eight samples, after a source of its own kind and task."""
    made = data(cell.family.kind, cell.task, folder)
    # a target without labels cannot be its own source
    source = data(cell.family.kind, cell.task, folder / "source", 1) if adapts(cell.strategy) else made
    labels = ("target.labels=none",) if adapts(cell.strategy) else ()
    extra = EXTRA.get(cell.task, ())
    carried = [f"source.pretrain.{one}" for one in extra] if node_of(cell.strategy).get("head") == "source" else []
    return [
        *(f"backbone={cell.family.member}", *cell.family.overrides),
        *(f"task={cell.task}", f"strategy={cell.strategy}", *extra, *carried),
        *CALM.get(cell.family.builder, ()),
        *GIVEN.get(cell.strategy, ()),
        *(*made.as_target(), *source.as_source(cell.task), *labels),
        *(f"batch_size={BATCH}", "trainer.max_epochs=1"),
        *HELD_OUT.get(cell.strategy, ("target.validation=0", "selection=last")),
        *("selection@source.pretrain.selection=last", "source.pretrain.target.validation=0"),
        *("tracker=none", "trainer.accelerator=cpu", "study=matrix", f"paths.runs={folder / 'runs'}"),
        *(f"paths.cache={folder / 'cache'}", *more),
    ]


def composed(words: Sequence[str]) -> DictConfig:
    """The whole config of a command, as its job has it."""
    with Composer() as composer:
        config = composer.config(words)
        HydraConfig.instance().set_config(config)
        plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        return OmegaConf.create(results.portable(plain))


def data(kind: str, task: str, folder: Path, seed: int = 0) -> Set:
    place = folder / f"{kind}-{task}"
    place.mkdir(parents=True, exist_ok=True)
    return MAKERS[kind, task](task, place, draw(seed))


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """The record of the run, of which nothing else is left."""
    words = command(cell, folder)
    runs = folder / "runs" / "matrix"
    before = set(runs.glob("*/run.json"))
    assert cli.main(["train", *words]) == 0, f"transferlab train {' '.join(words)}"
    (file,) = set(runs.glob("*/run.json")) - before
    record: dict[str, Any] = json.loads(file.read_text())
    shutil.rmtree(file.parent)
    shutil.rmtree(folder / "runs" / results.CANDIDATES, ignore_errors=True)
    return record
