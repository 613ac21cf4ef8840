#!/usr/bin/env bash
# Trains and evaluates one row of the results: run.sh NAME CONFIG SEED [--config.field=value ...]
# CONFIG is a file of configs/ as train.py takes it: digits_16bit.py, cnnh_plus_cifar10.py:48.
# Writes results/NAME_seedSEED.json; with BASELINES="itq lsh" also those on the same split; with
# FOLDER=documents into results/documents/.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 config=$2 seed=$3
shift 3
python=${PYTHON:-.venv/bin/python}
workdir=runs/${name}_seed$seed results=results${FOLDER:+/$FOLDER}
mkdir -p "$results"
"$python" train.py --config "configs/$config" --workdir "$workdir" --config.seed="$seed" "$@"
"$python" eval.py --workdir "$workdir" --result "$results/${name}_seed$seed.json"
for baseline in ${BASELINES:-}; do
  "$python" eval.py --workdir "$workdir" --baseline "$baseline" \
    --result "$results/${name}_${baseline}_seed$seed.json"
done
