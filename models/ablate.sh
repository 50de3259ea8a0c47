#!/usr/bin/env bash
# What image size, depth, width and ternary weights of the vision encoder are worth: short runs that differ in one thing each,
# then a table of them. Resumable like train.sh, whose views, stem and tokenizer in WORK it takes.
# usage: [STEPS=400] models/ablate.sh DATA WORK [VARIANT...]  (DATA: what bitmar.prepare made)
set -euo pipefail
data=$(realpath "${1:?usage: models/ablate.sh DATA WORK}") work=$(realpath "${2:?usage: models/ablate.sh DATA WORK}")
shift 2
cd "$(dirname "$0")"
steps=${STEPS:-400}
export MALLOC_MMAP_THRESHOLD_=2147483648 MALLOC_TRIM_THRESHOLD_=8589934592 PYTHONPATH=.
python=${PYTHON:-/usr/bin/python3}
views=$(find "$work/views/train" -mindepth 2 -maxdepth 2 -name done.u8 | wc -l)
(($#)) || set -- kept whole float float-to-ternary image-96 image-160 pairs-1 pairs-5 layers-0 layers-4 width-192 width-320

"$python" -m bitmar.ablation configs --out "$work/ablation"
for variant in "$@"; do
  size=${variant#image-} config=$work/ablation/$variant.json folder=$work/ablation/$variant
  [ "$size" != "$variant" ] || size=128
  case $variant in float* | whole) config=$work/ablation/kept.json ;; esac
  mkdir -p "$folder"
  cp "$work/stem.pt" "$work/tokenizer.json" "$folder"
  if [ "$size" = 128 ]; then
    ln -sfn "$work/views" "$folder/views"
  else
    "$python" -m bitmar.views --data "$data" --out "$folder/views" --views "$views" --size "$size" --grids-of "$work/views"
  fi
  train() { "$python" -m bitmar.train encoder --work "$folder" --data "$data" --config "$config" --steps "$steps" "$@"; }
  case $variant in
    whole) train --name whole --whole ;;  # the first five convolutions too
    float) train --name float --float ;;
    float-to-ternary)  # half of the steps each
      train --name float --float --steps $((steps / 2))
      train --name "$variant" --steps $((steps / 2)) --start "vision=$folder/float.pt" ;;
    *) train --name "$variant" ;;
  esac
done
"$python" -m bitmar.ablation report --data "$data" --views "$work/views" --captioner default \
  $(for variant in "$@"; do echo "$work/ablation/$variant/$variant.pt"; done)
