#!/usr/bin/env bash
# What bfloat16 changes of a linear probe: 6 targets, 5 seeds, activations kept in float32, in bfloat16, and computed in it too.
#   TRANSFERLAB_DATA=DIR experiments/bfloat16/run.sh [WORK]     on a CPU; started again, it goes on
# DIR holds office_caltech10/{amazon,caltech10,webcam}, hymenoptera and sentiment; WORK keeps activations and runs.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs/bfloat16}
photos=(source=imagenet_lite0 backbone=efficientnet_lite0 target=folder)

probe() { # a study, then words
  for numbers in "float32,bfloat16 trainer.precision=32-true" "bfloat16 trainer.precision=bf16-mixed"; do
    # shellcheck disable=SC2086
    transferlab train -m study="$1" "${@:2}" strategy=linear_probe cache=on cache.dtype=$numbers seed=0,1,2,3,4 \
      optimizer=adam optimizer.lr=0.005 scheduler=constant trainer.max_epochs=10 hydra/launcher=vectorized \
      tracker=none diagnostics=none trainer.accelerator=cpu "paths.runs=$work" "paths.cache=$work/cache"
  done
}
for domain in amazon caltech10 webcam; do
  probe images "${photos[@]}" "target.data.root=$TRANSFERLAB_DATA/office_caltech10/$domain" \
    target.data.train=null target.data.test=null target.labels=10
done
probe images "${photos[@]}" "target.data.root=$TRANSFERLAB_DATA/hymenoptera" target.data.test=val target.labels=50
for target in sst2 mr; do
  probe texts target=$target target.labels=300 source=minilm backbone=minilm backbone.input.max_length=64
done
for study in images texts; do
  transferlab compare $study --runs "$work" --by cache.dtype,trainer.precision \
    --baseline "cache.dtype=float32 trainer.precision=32-true"
done
