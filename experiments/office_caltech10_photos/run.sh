#!/usr/bin/env bash
# Deep adaptation between photographs: Amazon's, Caltech's and a webcam's, six pairs, seven strategies.
#   TRANSFERLAB_DATA=DIR experiments/office_caltech10_photos/run.sh [WORK]     on a CPU; started again, it goes on
# DIR holds office_caltech10/{amazon,caltech10,webcam}; WORK keeps runs and activations.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs}
here=$(dirname "$0")
study=$here/office_caltech10_photos.yaml
domains=(amazon caltech10 webcam)
quiet=(tracker=none diagnostics=none trainer.accelerator=cpu "paths.runs=$work" "paths.cache=$work/cache")

for source in "${domains[@]}"; do
  targets=()
  for domain in "${domains[@]}"; do [ "$domain" = "$source" ] || targets+=("$domain"); done
  to="to=$(IFS=,; echo "${targets[*]}")"
  transferlab sweep "$study" "from=$source" "$to" "${quiet[@]}"
  # SHOT has no source data but a source's net with its head: the same stages trained on the source's labels, those of
  # nine tenths of its photographs, smoothed as its paper has them. The head stays as it is.
  for seed in 0 1 2; do
    taught=photos_source_${source}_$seed
    transferlab sweep "$study" "study=$taught" strategy=full_finetune "to=$source" source.data=null target.labels=all \
      target.test=0.1 target.validation=0 task.label_smoothing=0.1 rules=none oracle=false "seed=$seed" "${quiet[@]}"
    transferlab sweep "$study" strategy=shot "strategy.freezing.at.0=[block6,conv_head]" source=checkpoint \
      "source.weights=$(ls "$work/$taught"/*/selected.pt)" source.data=null "from=$source" "$to" "seed=$seed" "${quiet[@]}"
  done
done
python "$here/table.py" "$work"
