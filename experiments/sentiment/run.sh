#!/usr/bin/env bash
# MiniLM on sentiment: a frozen probe against fine-tuning on SST-2, and Amazon's reviews from one domain to another.
#   TRANSFERLAB_DATA=DIR experiments/sentiment/run.sh [WORK]     on a CPU
# DIR holds sentiment/ and amazon_reviews/; WORK keeps runs and tokens.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs/sentiment}
seeds=${SEEDS:-0,1,2,3,4}
parts=" ${PARTS:-sst2 amazon} "
export HF_HUB_OFFLINE=1

# STUDY MORE...
train() {
  transferlab train -m study="$1" "${@:2}" backbone=minilm backbone.input.max_length=64 batch_size=16 \
    optimizer=adamw trainer.max_epochs="${EPOCHS:-4}" selection=last diagnostics=none trainer.precision=bf16-mixed \
    tracker=none trainer.accelerator=cpu "paths.runs=$work/runs" "paths.cache=$work/cache"
}

# The three strategies, each at its rate. Gradual unfreezing has the paper's discriminative rates (1 / 2.6 a stage), and
# a stage more every epoch.
probe() { train "$@" strategy=linear_probe optimizer.lr="${RATE:-0.01}"; }
tune() { train "$@" strategy=full_finetune optimizer.lr="${RATE:-0.00005}"; }
gradual() {
  train "$@" strategy=gradual_unfreezing strategy.freezing.every=1 strategy.lr_decay=0.385 \
    optimizer.lr="${RATE:-0.0003}"
}

# Rates: 150 labels a class to train on, 150 a class of SST-2's training part to judge by, seeds outside of the study.
if [ "${RATES:-}" ]; then
  few=(rates target=sst2 source=minilm target.labels=300 target.validation=0.5 +trainer.check_val_every_n_epoch=8
    +trainer.limit_test_batches=1)
  export EPOCHS=8
  RATE=0.003,0.01,0.03 probe "${few[@]}" seed=10
  RATE=0.00002,0.00005,0.0002 tune "${few[@]}" seed=10
  RATE=0.0003,0.001 gradual "${few[@]}" seed=10
  transferlab compare rates --runs "$work/runs" --metric val/accuracy
  exit
fi

if [[ $parts == *" sst2 "* ]]; then
  few=(sst2 target=sst2 source=minilm target.labels=400 target.validation=0 seed="$seeds")
  probe "${few[@]}"
  tune "${few[@]}"
  gradual "${few[@]}"
  transferlab compare sst2 --runs "$work/runs" --metric test/accuracy --baseline linear_probe
fi

# Amazon: MiniLM is fine-tuned on books by a run of its own, whose weights are then a source like any other file. The
# target is kitchen.
if [[ $parts == *" amazon "* ]]; then
  books=(target=amazon_reviews target.data.name=books source=minilm target.labels=300 target.validation=0 seed=0)
  EPOCHS=2 tune books "${books[@]}"
  weights=$(ls "$work"/runs/books/*/selected.pt)
  few=(kitchen target=amazon_reviews target.data.name=kitchen target.labels=25 target.test=0.2 target.validation=0
    seed="$seeds")
  for source in "source=minilm" "source=checkpoint source.weights=$weights"; do
    probe "${few[@]}" $source
    tune "${few[@]}" $source
  done
  # the head for books as well, where negative and positive mean the same, and a rate too small to move anything
  RATE=1e-12 EPOCHS=1 probe kitchen_unseen target=amazon_reviews target.data.name=kitchen target.labels=1 \
    target.test=0.2 target.validation=0 source=checkpoint "source.weights=$weights" strategy.head=source
  # with four hundred labels a class, as on SST-2
  many=(kitchen_400 target=amazon_reviews target.data.name=kitchen target.labels=400 target.test=0.2
    target.validation=0 seed="$seeds")
  for source in "source=minilm" "source=checkpoint source.weights=$weights"; do
    probe "${many[@]}" $source
    tune "${many[@]}" $source
    gradual "${many[@]}" $source
  done
  transferlab compare kitchen_400 --runs "$work/runs" --metric test/accuracy --by source,strategy,optimizer.lr \
    --baseline "source=minilm strategy=linear_probe optimizer.lr=0.01"
  transferlab compare kitchen --runs "$work/runs" --metric test/accuracy --by source,strategy,optimizer.lr \
    --baseline "source=minilm strategy=linear_probe optimizer.lr=0.01"
fi
