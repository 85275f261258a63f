#!/usr/bin/env bash
# From nothing to the shipped segmenter: bank of synthetic spines, pictures, two rounds of training, ONNX, parity, figures.
#     lab/train/recipe.sh [FOLDER FOR EVERYTHING IN BETWEEN]      DATA=../shared/data PYTHON=.venv-test/bin/python
# Every step continues where it was interrupted. Hours on two processor cores; SCALE=1000 trains a thousandth of
# it and leaves out benchmark and figures, to see that it holds together (in a clone: it writes over model and docs).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=${1:-work}
data=${DATA:-../shared/data}
python=${PYTHON:-.venv-test/bin/python}
part() { echo $(( ($1 + ${SCALE:-1} - 1) / ${SCALE:-1} )); }

"$python" -m lab.synth.cohort --out "$work/bank" --n "$(part 400)" --seed 3
"$python" -m lab.train.prerender --bank "$work/bank" --out "$work/rendered" --each 2
"$python" -m lab.synth.cohort --out "$work/necks" --n "$(part 440)" --seed 5 --view cervical --plane-mm 0.8 1.4
"$python" -m lab.train.prerender --bank "$work/necks" --out "$work/rendered_necks" --each 2 \
    --contrasts t2 t1 t2 random t2 stir t2 t1 water_fat random

# First round; its answers on unlabelled training pictures; second round, which learns from both.
train=(-m lab.train.train_segmenter --data "$data")
"$python" "${train[@]}" --bank "$work/rendered" --out "$work/first" --steps "$(part 3600)"
"$python" -m lab.train.pseudo_label --data "$data" --run "$work/first" --out "$work/labelled"
"$python" "${train[@]}" --bank "$work/rendered" --labelled "$work/labelled" --init "$work/first" --out "$work/second" \
    --rate 1e-3 --steps "$(part 1900)"

"$python" -m lab.convert.to_onnx --run "$work/second" --out model/segmenter.onnx
cp "$work/second/record.json" model/segmenter.record.json

# The network that reads necks again starts from it; a seventh of its pictures are real lumbar ones.
"$python" "${train[@]}" --bank "$work/rendered_necks" --labelled "$work/labelled" --init "$work/second" --out "$work/neck" \
    --rate 1e-3 --seed 5 --steps "$(part 4300)" --shares synthetic=0.85 spider_space=0.06 spider_t2=0.03 spider_t1=0.01 \
    mendeley_t1=0.02 mendeley_t2=0.03
"$python" -m lab.convert.to_onnx --run "$work/neck" --part neck --out model/neck.onnx
cp "$work/neck/record.json" model/neck.record.json

# The network of the cord's cross-sections, from nothing, on cords of its own.
"$python" -m lab.synth.cord_bank --out "$work/cords" --n "$(part 480)" --family train
"$python" -m lab.synth.cord_bank --out "$work/cords_val" --n "$(part 24)" --family val
"$python" -m lab.train.train_cord --bank "$work/cords" --val "$work/cords_val" --out "$work/cord_first" \
    --steps "$(part 3200)"
"$python" -m lab.train.train_cord --bank "$work/cords" --val "$work/cords_val" --out "$work/cord" --init "$work/cord_first" \
    --rate 1.5e-3 --seed 2 --steps "$(part 3000)" --narrowest 0.4
"$python" -m lab.convert.cord_to_onnx --run "$work/cord" --val "$work/cords_val" --out model/cord.onnx
cp "$work/cord/curves.png" docs/segmenter/curves_cord.png
cp "$work/neck/curves.png" docs/segmenter/curves_neck.png
cp "$work/second/curves.png" docs/segmenter/curves.png
"$python" -m lab.convert.check_parity --run "$work/second" --image test/input/lumbar/images/sagittal-spine-mri/*.mha
"$python" -m lab.convert.check_parity --run "$work/neck" --part neck --image test/input/cervical/images/sagittal-spine-mri/*.mha

# What the choice rests on, and what synthetic spines alone reach.
"$python" -m lab.train.compare_networks --data "$data" --bank "$work/rendered" --out "$work/candidates" --steps "$(part 500)"
"$python" "${train[@]}" --bank "$work/rendered" --synthetic-only --out "$work/synthetic" --steps "$(part 1400)"
mkdir -p "$work/synthetic_model"
cp model/*.onnx model/*.json "$work/synthetic_model"
"$python" -m lab.convert.to_onnx --run "$work/synthetic" --out "$work/synthetic_model/segmenter.onnx"

for split in val test; do
    "$python" -m lab.evaluate.run_pack --data "$data" --split "$split" --out docs/segmenter
done
"$python" -m lab.evaluate.run_pack --data "$data" --model "$work/synthetic_model" --only spider_space --out docs/segmenter/synthetic_only
"$python" -m lab.evaluate.run_crops --data "$data" --split test --out docs/segmenter
"$python" -m lab.evaluate.run_cord --out docs/segmenter
"$python" -m lab.evaluate.run_cervical --data "$data" --out docs/segmenter
if (( ${SCALE:-1} > 1 )); then
    echo "A network of a few steps finds no spine in the bundled case: no benchmark, no figures."
    exit 0
fi
"$python" -m lab.benchmark
"$python" -m lab.evaluate.figures
