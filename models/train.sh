#!/usr/bin/env bash
# Trains the model from photos and text to models/default, stage by stage. Every stage resumes from its
# checkpoint, so the script may be stopped and started again at any time.
# usage: [MINUTES=10] [FROM=MODEL [AGAIN=1 [CAPTIONER=CHECKPOINT] [TUTOR=CHECKPOINT] [TIMES=1]]] models/train.sh DATA WORK  (DATA: what bitmar.prepare made, see docs/data.md; WORK: checkpoints, ignored by git)
# FROM goes on from an exported model, say models/default, whatever teacher that one had: its encoder and its captioner learn TEACHER's
# grid, then as ever. It wants a WORK of its own. With AGAIN=1 that model has learned TEACHER's grid already: its encoder and its
# captions get better, by a longer time of both. CAPTIONER, a checkpoint of one of that grid that was not rewarded, is where captions start
# from then, FROM's own otherwise; TUTOR is another such captioner. On a GPU these stages last by the clock, four times as long with TIMES=4,
# elsewhere by ENCODER_STEPS, CAPTION_STEPS, JOINT_STEPS and CRITIC_STEPS; VIEWS and MIXED are how many views of a photo are packed.
# MINUTES ends the run after about so long, to be gone on with by the same command; TEACHER is ensemble, lite2, detectors, resnet, yolo, centernet, inception or dinov2
# (with TEACHER_WEIGHTS, a file).
# Needs python3 with PyTorch >= 1.13, torchvision, Pillow and regex; runs on CUDA when PyTorch sees a GPU, else on a BLAS worth the
# name (Debian: libopenblas0-pthread, whose products took a tenth of the reference one's time).
set -euo pipefail
data=$(realpath "${1:?usage: models/train.sh DATA WORK}") work=$(realpath -m "${2:?usage: models/train.sh DATA WORK}")
[ -z "${FROM:-}" ] || from=$(realpath "$FROM")
said=${CAPTIONER:+$(realpath "$CAPTIONER")} tutor=(${TUTOR:+"$(realpath "$TUTOR")"})
cd "$(dirname "$0")"
mkdir -p "$work"
cache=../.cache/teacher
# Large tensors come and go every step: keep their pages instead of returning them to the kernel.
export MALLOC_MMAP_THRESHOLD_=2147483648 MALLOC_TRIM_THRESHOLD_=8589934592 PYTHONPATH=.
python=${PYTHON:-/usr/bin/python3}
spoken=("$data/text.txt")
# Fails, and so ends this script, when a stage ran out of time: the next one needs it whole.
train() {
  local left=inf
  [ -z "${MINUTES:-}" ] || left=$((MINUTES - SECONDS / 60))
  "$python" -m bitmar.train "$1" --work "$work" --data "$data" --minutes "$left" "${@:2}"
}

# Packs views; on a GPU by eight processes, for it waits for pictures to be drawn. The first finds the projection of the teacher's grid.
gpu=$("$python" -c 'import torch; print(int(torch.cuda.is_available()))')
views() {
  "$python" -m bitmar.views --data "$data" --out "$work/views" --cache "$cache" \
    --teacher "${TEACHER:-ensemble}" ${TEACHER_WEIGHTS:+--teacher-weights "$TEACHER_WEIGHTS"} "$@"
}
pack() {
  if [ "$gpu" = 0 ]; then
    views "$@"
    return
  fi
  views --views 1
  local shard shards=()
  for shard in {0..7}; do
    views "$@" --shard "$shard/8" &
    shards+=($!)
  done
  for shard in "${shards[@]}"; do wait "$shard"; done
}
if [ -n "${AGAIN:-}" ]; then pack --views "${VIEWS:-14}" --mixed "${MIXED:-10}"; else pack; fi
after=compressor,embedding,text_encoder,fusion,memory,decoder
if [ -n "${FROM:-}" ]; then
  cp "$from/tokenizer.json" "$work"
  if [ -n "${AGAIN:-}" ]; then
    said=${said:-$from}
    lasts() { if [ "$gpu" = 1 ]; then echo "--seconds $(($1 * ${TIMES:-1})) --batch $2"; else echo "--steps $3"; fi; }
    # The ternary encoder begins as a float one that has learned the same: it ends at a lower error (experiments/2026-11-26-closing-the-ternary-gap.md).
    train encoder --name float --float --whole --mixed 0.5 $(lasts 150 256 "${ENCODER_STEPS:-2800}") --rate 1.5e-3 --through "$said" --start "vision=$from"
    train encoder --whole --mixed 0.5 $(lasts 235 256 "${ENCODER_STEPS:-2800}") --rate 2e-3 --through "$said" --start "vision=$work/float.pt"
    train caption $(lasts 230 96 "${CAPTION_STEPS:-820}") --text "${spoken[@]}" --rate 1e-3 --dropout 0.2 --blind 0.1 --tutors "${tutor[@]}" "$said" --start "vision=$from" "$after=$said"
    train joint --whole $(lasts 85 96 "${JOINT_STEPS:-420}") --text "${spoken[@]}" --rate 8e-4 --dropout 0.15 --tutors "$work/caption.pt" "${tutor[@]}" --start "vision=$work/encoder.pt" "$after=$work/caption.pt"
    # Two rewards that differ in their draws, to be averaged.
    for seed in 0 1; do
      train critic --name "critic$seed" --seed "$seed" --whole $(lasts 240 128 "${CRITIC_STEPS:-1200}") --rate 2e-4 --imitation "0.0$((4 + 4 * seed))" --tutors "$work/caption.pt" --start "vision,$after=$work/joint.pt"
    done
    "$python" -m bitmar.mix --start "$work/critic0.pt" --end "$work/critic1.pt" --share 0.4 --out "$work/critic.pt"
  else
    train encoder --steps "${ENCODER_STEPS:-2100}" --start "vision=$from"
    train caption --steps "${CAPTION_STEPS:-820}" --dropout 0.15 --blind 0.1 --start "vision=$from" "${after#*,}=$from"
    train joint --steps "${JOINT_STEPS:-420}" --rate 8e-4 --captions-each 3 --tutors "$work/caption.pt" --start "vision=$work/encoder.pt" "$after=$work/caption.pt"
    train critic --steps "${CRITIC_STEPS:-560}" --rate 1e-4 --tutors "$work/caption.pt" --start "vision,$after=$work/joint.pt"
  fi
  spoken_by=$work/critic.pt
else
  [ -f "$work/stem.pt" ] || "$python" -m bitmar.stem --views "$work/views" --out "$work/stem.pt" --cache "$cache"
  [ -f "$work/tokenizer.json" ] || "$python" -m bitmar.tokenizer --out "$work/tokenizer.json" "$data" "${spoken[@]}"
  train language --steps "${LANGUAGE_STEPS:-2600}" --text "${spoken[@]}"
  train encoder --whole --steps "${ENCODER_STEPS:-6000}"
  train caption --steps "${CAPTION_STEPS:-1000}" --dropout 0.15 --blind 0 --start "decoder,embedding=$work/language.pt"
  # A second captioner that sees three times as much of the teacher's grid: with the first a tutor of those that follow.
  train caption --name tutor --components 768 --seed 1 --steps "${CAPTION_STEPS:-1000}" --dropout 0.2 --blind 0 --start "decoder,embedding=$work/language.pt"
  tutors=("$work/tutor.pt" "$work/caption.pt")
  train caption --name taught --steps "${TAUGHT_STEPS:-450}" --rate 8e-4 --dropout 0.15 --tutors "${tutors[@]}" --start "$after=$work/caption.pt"
  train joint --steps "${JOINT_STEPS:-900}" --rate 8e-4 --tutors "${tutors[@]}" --start "vision=$work/encoder.pt" "$after=$work/taught.pt"
  train critic --steps "${CRITIC_STEPS:-330}" --rate 1e-4 --tutors "$work/tutor.pt" --start "vision,$after=$work/joint.pt"
  "$python" -m bitmar.mix --start "$work/joint.pt" --end "$work/critic.pt" --share 0.25 --out "$work/mixed.pt"
  spoken_by=$work/mixed.pt
fi
train recall --steps "${RECALL_STEPS:-400}" --start "vision,$after=$spoken_by"
train words --steps "${WORDS_STEPS:-1500}" --start "vision,$after=$work/recall.pt"
# To calibrate it, with the engine built: python -m bitmar.calibrate --model default --beams 8 --engine ... (see ../docs/training.md)
"$python" -m bitmar.export --checkpoint "$work/words.pt" --tokenizer "$work/tokenizer.json" --out default
