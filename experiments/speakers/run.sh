#!/usr/bin/env bash
# Spoken digits, leave one speaker out: a net trained on five speakers goes to the sixth, against starting anew.
#   TRANSFERLAB_DATA=DIR experiments/speakers/run.sh [WORK]     on a CPU
# DIR holds fsdd/recordings; WORK keeps runs.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs/speakers}
seeds=${SEEDS:-0,1,2,3,4}
speakers=(george jackson lucas nicolas theo yweweler)
others() { printf '%s\n' "${speakers[@]}" | grep -vx "$1" | paste -sd,; }

# SPEAKER STUDY MORE...: the source is the five others, pretrained once. The speaker's first five recordings of each
# digit test, the others are there to be learned from.
train() {
  transferlab train study="$2" source=spoken_digits target=spoken_digits \
    "source.pretrain.target.data.train_speakers=[$(others "$1")]" "target.data.train_speakers=[$1]" \
    backbone=convnet "backbone.widths=[16,32,64]" input@backbone.input=log_mel backbone.input.rate=8000 \
    backbone.input.bands=32 backbone.input.hop=20 backbone.input.window=40 source.pretrain.optimizer.lr=0.01 \
    selection=last diagnostics=none tracker=none trainer.accelerator=cpu \
    "paths.runs=$work/runs" "paths.cache=$work/cache" "${@:3}"
}

# The rate of each strategy: five labels a digit to train on, forty of the training recordings to judge by, one
# speaker, seeds that are not in the study.
if [ "${RATES:-}" ]; then
  few=(seed=10,11 target.labels=45 target.validation=0.8889 +trainer.check_val_every_n_epoch=30)
  train george rates -m strategy=scratch,linear_probe optimizer.lr=0.03,0.1,0.3 "${few[@]}"
  train george rates -m strategy=full_finetune strategy.head=new,source optimizer.lr=0.03,0.1 "${few[@]}"
  transferlab compare rates --runs "$work/runs" --metric val/accuracy
  exit
fi

for speaker in ${SPEAKERS:-${speakers[@]}}; do
  # what five speakers taught, as it is: a rate too small to move anything, and none of the sixth speaker's labels used.
  # On the 50 test recordings of the study, and on all 500 (the label then seen is one of the five's)
  unseen=(speakers_unseen strategy=linear_probe strategy.head=source optimizer.lr=1e-9 trainer.max_epochs=1
    target.labels=1 target.validation=0)
  train "$speaker" "${unseen[@]}"
  train "$speaker" "${unseen[@]}" "target.data.train_speakers=[$(others "$speaker")]" \
    "target.data.test_speakers=[$speaker]"
  few=(target.labels=1,5 target.validation=0 seed="$seeds" optimizer.lr=0.1)
  train "$speaker" speakers -m strategy=scratch,linear_probe "${few[@]}"
  train "$speaker" speakers -m strategy=full_finetune strategy.head=new,source "${few[@]}"
done
transferlab compare speakers --runs "$work/runs" --metric test/accuracy
python "$(dirname "$0")/table.py" "$work/runs/speakers/comparison/runs.csv"
