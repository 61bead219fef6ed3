#!/usr/bin/env bash
# Shallow domain adaptation on published SURF histograms, between all four domains of Office-Caltech10.
#   TRANSFERLAB_DATA=DIR experiments/office_caltech10_surf/run.sh [WORK]     started again, it goes on
# DIR holds office_caltech10_surf/*.mat; WORK keeps runs.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs}
domains=(caltech10 amazon webcam dslr)

# The histograms go to the classifier as they are: an mlp without hidden layers hands on its inputs.
sweep() { # STUDY SOURCE OVERRIDES...
  local study=$1 source=$2 targets=() domain
  for domain in "${domains[@]}"; do [ "$domain" = "$source" ] || targets+=("$domain"); done
  shift 2
  transferlab train -m "study=$study" source=office_caltech10_surf "source.pretrain.target.data.name=$source" \
    target=office_caltech10_surf "target.data.name=$(IFS=,; echo "${targets[*]}")" target.labels=none target.test=all \
    backbone=mlp input@backbone.input=table "backbone.input.shape=[800]" "backbone.widths=[]" strategy.start=random \
    strategy.solver.normalise=rows_sum_then_zscore selection=last tracker=none diagnostics=none \
    trainer.accelerator=cpu "paths.runs=$work" "paths.cache=$work/cache" "$@"
}

# all samples of the source
for source in "${domains[@]}"; do
  for strategy in tca jda subspace_alignment kmm ulsif; do sweep surf "$source" "strategy=$strategy"; done
  sweep surf "$source" strategy=nearest strategy.solver.classifier=nearest,svm,logistic
  sweep surf "$source" strategy=coral strategy.solver.classifier=svm,nearest
  # C chosen on the source's labels
  for strategy in coral nearest; do
    sweep surf "$source" "strategy=$strategy" strategy.solver.classifier=svm "strategy.solver.C=[0.0001,0.001,0.01,0.1,1]"
  done
done
# 20 samples a class, 8 of the DSLR camera's, 20 draws
for source in "${domains[@]}"; do
  samples=20
  [ "$source" = dslr ] && samples=8
  sweep surf_trials "$source" strategy=coral "strategy.solver.source_labels=$samples" "seed=$(seq -s, 0 19)"
done
python "$(dirname "$0")/table.py" "$work"
