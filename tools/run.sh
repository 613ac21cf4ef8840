#!/usr/bin/env bash
# Trains and evaluates one row of the results: run.sh NAME CONFIG DRAW [--config.field=value ...]
# CONFIG is a file of configs/ as train.py takes it: digits_16bit.py, cnnh_plus_cifar10.py:48.
# DRAW is a number: the seed of training and of the split.
# Writes results/NAME_drawDRAW.json; with BASELINES="itq lsh" also those on the same split; with
# FOLDER=documents into results/documents/.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 config=$2 draw=$3
shift 3
if ! [[ $draw =~ ^[0-9]+$ ]]; then
  echo "error: the draw is '$draw'; give a number, as in run.sh NAME CONFIG 0." >&2
  exit 2
fi
python=${PYTHON:-.venv/bin/python}
workdir=runs/${name}_draw$draw results=results${FOLDER:+/$FOLDER}
mkdir -p "$results"
"$python" train.py --config "configs/$config" --workdir "$workdir" \
  --config.seed="$draw" --config.data.split_seed="$draw" "$@"
"$python" eval.py --workdir "$workdir" --result "$results/${name}_draw$draw.json"
for baseline in ${BASELINES:-}; do
  "$python" eval.py --workdir "$workdir" --baseline "$baseline" \
    --result "$results/${name}_${baseline}_draw$draw.json"
done
