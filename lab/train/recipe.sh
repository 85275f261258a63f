#!/usr/bin/env bash
# From nothing to the shipped segmenter: bank of synthetic spines, pictures, training, ONNX, parity, figures.
#     lab/train/recipe.sh [FOLDER FOR EVERYTHING IN BETWEEN]      DATA=../shared/data PYTHON=.venv-test/bin/python
# Every step continues where it was interrupted. About two hours on two processor cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=${1:-work}
data=${DATA:-../shared/data}
python=${PYTHON:-.venv-test/bin/python}

"$python" -m lab.synth.cohort --out "$work/bank" --n 150 --seed 1
"$python" -m lab.train.prerender --bank "$work/bank" --out "$work/rendered" --each 3
"$python" -m lab.train.train_segmenter --data "$data" --bank "$work/rendered" --out "$work/segmenter" --steps 4200 --seed 1
"$python" -m lab.convert.to_onnx --run "$work/segmenter" --out model/segmenter.onnx
cp "$work/segmenter/record.json" model/segmenter.record.json
"$python" -m lab.convert.check_parity --run "$work/segmenter" --image test/input/lumbar/images/sagittal-spine-mri/*.mha
"$python" -m lab.evaluate.run_pack --data "$data" --split test --out docs/segmenter
"$python" -m lab.benchmark
"$python" -m lab.evaluate.figures
