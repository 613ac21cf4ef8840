#!/usr/bin/env bash
# Tunes the arms of configs/digits_arms.py or cifar10_arms.py alike, on the validation images of draw
# 0, with the fewest labels of the tables: choose_arms.sh digits [--config.field=value ...]
# ARMS chooses some of them. Writes results/choice/; run it again to go on.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${1:-}
case $data in
  digits) labels=5 ;;
  cifar10) labels=25 ;;
  *) echo "error: the data is '$data'; give digits or cifar10." >&2; exit 2 ;;
esac
shift
for arm in ${ARMS:-gan gan_real network gan+consistency gan_real+consistency network+consistency}; do
  "${PYTHON:-.venv/bin/python}" -m tools.search --config "configs/${data}_arms.py:$arm" \
    --walk optimizer.hash.learning_rate,loss.weights.triplet \
    --config.data.labeled_per_class=$labels "$@" \
    --out runs/choose --result "results/choice/${data}_arms_$arm.json"
done
