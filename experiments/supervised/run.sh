#!/usr/bin/env bash
# Every supervised strategy on photographs, from Caltech's to Amazon's, with 5, 10 and 20 labels a class.
#   TRANSFERLAB_DATA=DIR experiments/supervised/run.sh [WORK]     on a CPU; started again, it goes on
# DIR holds office_caltech10/{caltech10,amazon}; WORK keeps runs.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs/supervised}
quiet=(tracker=none diagnostics=none trainer.accelerator=cpu "paths.runs=$work" "paths.cache=$work/cache" hydra.sweeper.max_batch_size=9)

# The source: ImageNet's EfficientNet-Lite0, fine-tuned on Caltech's photographs, 70 % of them.
if [ ! -e "$work/caltech10.pt" ]; then
  transferlab train study=supervised_source strategy=full_finetune source=imagenet_lite0 backbone=efficientnet_lite0 \
    "backbone.input.shape=[3,64,64]" target=folder "target.data.root=$TRANSFERLAB_DATA/office_caltech10/caltech10" \
    target.data.train=null target.data.test=null optimizer=adam optimizer.lr=0.0005 batch_size=16 \
    trainer.max_epochs=5 "${quiet[@]}"
  cp "$work"/supervised_source/*/selected.pt "$work/caltech10.pt"
fi

sweep() { transferlab sweep supervised "${quiet[@]}" "$@"; }
sweep
# channels are weighed once a run; 64 samples tell which matter
sweep strategy=delta strategy.losses.delta.samples=64
# the one rule that is known of these labels: an object is one thing
sweep strategy=semantic_loss "strategy.losses.semantic_loss.rules=[{exactly_one:[0,1,2,3,4,5,6,7,8,9]}]"
transferlab compare supervised --runs "$work" --metric test/accuracy
python "$(dirname "$0")/table.py" "$work/supervised/comparison/runs.csv"
