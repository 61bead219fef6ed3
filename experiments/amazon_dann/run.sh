#!/usr/bin/env bash
# DANN's table of Amazon's reviews: twelve pairs of domains, a net with one hidden layer, without and with adaptation.
#   TRANSFERLAB_DATA=DIR experiments/amazon_dann/run.sh [WORK]     on a CPU; started again, it goes on
# DIR holds amazon_reviews/amazon_dann_svmlight; WORK keeps runs.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs}
here=$(dirname "$0")
domains=(books dvd electronics kitchen)

for source in "${domains[@]}"; do
  targets=()
  for domain in "${domains[@]}"; do [ "$domain" = "$source" ] || targets+=("$domain"); done
  sweep() {
    transferlab sweep "$here/amazon_dann.yaml" "source.pretrain.target.data.name=$source" \
      "target.data.name=$(IFS=,; echo "${targets[*]}")" tracker=none diagnostics=none trainer.accelerator=cpu \
      "paths.runs=$work" "paths.cache=$work/cache" "$@"
  }
  sweep strategy=source_only
  # the paper's shallow net: a linear discriminator and one lambda throughout, which reverse validation chooses
  sweep strategy=dann "strategy.losses.dann.hidden=[]" strategy/weight@strategy.losses.dann.reversal=warmup \
    strategy.losses.dann.reversal.share=0 strategy.losses.dann.reversal.high=0.01,0.1,1
done
python "$here/table.py" "$work"
