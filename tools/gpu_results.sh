#!/usr/bin/env bash
# Trains and evaluates the full-size rows of CIFAR-10 on a GPU, for MINUTES (8) at most:
# gpu_results.sh [--config.field=value ...]
# Run it again to go on: a row whose result is there is skipped, a half-trained one is resumed.
# ROWS chooses among paper, control and best; BITS and DRAWS choose the others.
# Exit code 0: all rows are there; 124: time is up.
set -euo pipefail
cd "$(dirname "$0")/.."
end=$((SECONDS + 60 * ${MINUTES:-8}))
for draw in ${DRAWS:-0}; do for bits in ${BITS:-48 32 24 12}; do for row in ${ROWS:-best paper control}; do
  name=${PREFIX:-gpu}_cifar10_${bits}bit_$row
  # The last file that run.sh writes.
  if [[ -e results/${name}_graded_draw$draw.json ]]; then continue; fi
  case $row in
    paper) arguments=("cifar10.py:$bits") ;;
    control) arguments=("cifar10.py:$bits" "" --config.gan=False --config.triplets=real) ;;
    best) arguments=(cifar10_48bit_best.py "" "--config.num_bits=$bits") ;;
    *) echo "error: ROWS has '$row'; give some of paper, control, best." >&2; exit 2 ;;
  esac
  left=$((end - SECONDS))
  if ((left <= 0)); then echo "Time is up; run it again to go on."; exit 124; fi
  echo "== $name, draw $draw: $left s left"
  code=0
  BASELINES="features_itq classifier graded" timeout --signal=INT --kill-after=30 "$left" \
    tools/run.sh "$name" "${arguments[0]}" "$draw" "${arguments[@]:2}" "$@" || code=$?
  if ((code == 124)); then echo "Time is up; run it again to go on."; fi
  if ((code != 0)); then exit "$code"; fi
done; done; done
echo "All rows are in results/."
