#!/usr/bin/env bash
# MNIST to USPS and back without labels of the target: 2,000 and 1,800 images, source only, DANN and CDAN.
#   TRANSFERLAB_DATA=DIR experiments/digits_adaptation/run.sh [WORK]     on a CPU; started again, it goes on
# DIR holds MNIST/raw and usps/usps.h5; WORK keeps runs and the images that were drawn.
set -euo pipefail
: "${TRANSFERLAB_DATA:?names the folder of data}"
work=${1:-runs}
here=$(dirname "$0")
[ -e "$work/digits" ] || python "$here/subsets.py" "$TRANSFERLAB_DATA" "$work/digits"

sweep() {
  transferlab sweep "$here/digits_adaptation.yaml" tracker=none diagnostics=none trainer.accelerator=cpu \
    "paths.data=$work/digits" "paths.runs=$work" "paths.cache=$work/cache" "$@"
}
for pair in "from=mnist to=usps" "from=usps to=mnist"; do
  sweep $pair
  sweep $pair "seed=range(5,10)" rules=none oracle=false # what every rule would have chosen is known of five seeds
done
# is it the border that USPS lacks?
sweep from=mnist to=usps_framed "seed=range(3)" rules=none oracle=false
sweep from=usps_framed to=mnist strategy=source_only "seed=range(3)" rules=none oracle=false
python "$here/table.py" "$work"
