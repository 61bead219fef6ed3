#!/usr/bin/env bash
# Ten pairs of source and backbone on four targets with few labels: every candidate run to its end, then every score.
#   TRANSFERLAB_DATA=DIR experiments/source_selection/run.sh [WORK [TARGET...]]     on a CPU; started again, it goes on
# DIR holds office_caltech10/{amazon,caltech10}, hymenoptera/{train,val} and cifar_resnets; WORK keeps runs and activations.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(digits caltech10 amazon hymenoptera)
here=$(dirname "$0")
study=$here/source_selection.yaml
photos=$TRANSFERLAB_DATA/office_caltech10
quiet=(tracker=none trainer.accelerator=cpu "paths.runs=$work" "paths.cache=$work/cache")
pretrained=(imagenet_lite0:efficientnet_lite0 cifar_resnet:cifar_resnet20 cifar_resnet:cifar_resnet32
  cifar_resnet:cifar_resnet44 cifar_resnet:cifar_resnet56 mnist5k:cifar_resnet20 mnist5k:convnet)
random=(none:efficientnet_lite0 none:cifar_resnet20 none:convnet)

for name in "${targets[@]}"; do
  case $name in
    digits) target=(target=digits target.labels=20) ;;
    hymenoptera)
      target=(target=folder "target.data.root=$TRANSFERLAB_DATA/hymenoptera" target.data.train=train
        target.data.test=val target.labels=60)
      ;;
    *)
      target=(target=folder "target.data.root=$photos/$name" target.data.train=null target.data.test=null
        target.labels=20)
      ;;
  esac
  words=("${target[@]}" "study=source_selection_$name" "${quiet[@]}")
  for pair in "${random[@]}" "${pretrained[@]}"; do
    source=${pair%:*} backbone=${pair#*:}
    start=("source=$source" "backbone=$backbone")
    [ "$backbone" != efficientnet_lite0 ] || start+=("backbone.input.shape=[3,128,128]")
    [ "$backbone" != convnet ] || [ "$name" = digits ] || start+=("backbone.input.shape=[3,28,28]")
    [ "$source" = none ] && strategies=scratch || strategies=linear_probe,full_finetune,lp_ft
    transferlab sweep "$study" "${start[@]}" "strategy=$strategies" diagnostics=none "${words[@]}"
    transferlab rank "${start[@]}" target.validation=0.4 "${words[@]}" >"$work/source_selection_$name/rank_${pair/:/_}.txt"
  done
  transferlab compare "source_selection_$name" --runs "$work"
  transferlab select --regret "source_selection_$name" --runs "$work"
done
