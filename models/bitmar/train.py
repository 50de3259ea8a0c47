"""Training, stage by stage; each stage resumes from its own checkpoint.

  language  the decoder learns captions as plain text, without pictures
  encoder   the vision transformer learns to predict the teacher's grid from pixels (frozen stem)
  caption   compressor, text encoder, fusion, memory and decoder learn to caption the teacher's grid
  joint     everything after the stem learns to caption from pixels
  critic    the same, rewarded for the score of its own captions (see captioning.py for the last three)

usage: python -m bitmar.train STAGE --work DIR --captions captions.json [--steps N] [--text FILE...]

DIR holds views/ (see views.py), stem.pt (stem.py), tokenizer.json (tokenizer.py) and receives
STAGE.pt (checkpoint, resumed when present) and STAGE.jsonl (learning curve).
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import os
import random
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import captioning, quant
from .captioning import token_loss, wrap
from .data import Views, clean_caption, load_captions, pad
from .export import read_checkpoint
from .model import BitMar, load_config
from .quant import quantize_activation
from .stem import STEM_LAYERS
from .tokenizer import Tokenizer
from .views import GRID

THROUGH_WEIGHT = 3.0  # of the error after a captioner's compressor, beside that of the grid


def centred(pixels: torch.Tensor, device) -> torch.Tensor:
    """Pixels [B, 3, S, S] of 0 to 255 as the first convolution takes them: -128 to 127, in float."""
    return (pixels.to(device).float() - 128).contiguous(memory_format=torch.channels_last)


class StemCache:
    """Frozen stem outputs as int8 maps, computed once a view, in files named after the stem's weights.

    The next convolution quantises its input map to int8 with one scale, so this loses nothing."""

    def __init__(self, model: BitMar, views: Views, device):
        self.model, self.views, self.device = model, views, device
        weights = b"".join(p.detach().cpu().numpy().tobytes() for p in model.vision.stem[:STEM_LAYERS].parameters())
        self.name = f"stem-{hashlib.sha256(weights).hexdigest()[:8]}"
        self.shape = self._run(views.pixels([0], 0)).shape[1:]
        self.maps: list[np.ndarray] = []
        self.scales: list[np.ndarray] = []

    def _open(self) -> None:
        """Files for the views that have none yet."""
        for view in range(len(self.maps), self.views.count):
            maps, scales = (self.views.file(view, f"{self.name}.{kind}") for kind in ("i8", "f32"))
            mode = "r+" if scales.exists() else "w+"
            self.maps.append(np.memmap(maps, np.int8, mode, shape=(len(self.views), *self.shape)))
            self.scales.append(np.memmap(scales, np.float32, mode, shape=len(self.views)))

    def _run(self, pixels):
        """Ternary also where the rest is trained in float (--float)."""
        rest, quant.ternary = quant.ternary, True
        with torch.no_grad():
            x = self.model.vision.run_stem(centred(pixels, self.device), 0, STEM_LAYERS)
        quant.ternary = rest
        return x

    def __call__(self, rows, view) -> torch.Tensor:
        self._open()
        rows, view = np.asarray(rows), np.broadcast_to(np.asarray(view), len(rows))
        missing = [i for i in range(len(rows)) if self.scales[view[i]][rows[i]] == 0]
        if missing:
            q, s = quantize_activation(self._run(self.views.pixels(rows[missing], view[missing])), (1, 2, 3))
            for i, maps, scale in zip(missing, q.to(torch.int8).cpu().numpy(), s.flatten().cpu().numpy()):
                self.maps[view[i]][rows[i]], self.scales[view[i]][rows[i]] = maps, scale
        maps, scales = (Views.gather(lambda v, r: arrays[v][r], rows, view).to(self.device) for arrays in (self.maps, self.scales))
        return maps.float() * scales[:, None, None, None]


def seed(value: int) -> None:
    random.seed(value), np.random.seed(value), torch.manual_seed(value)


class Trainer:
    """Optimiser, cosine schedule, weight average, checkpoints and a learning curve for one stage."""

    def __init__(self, args, stage: str, model: BitMar, parameters, rate: float, steps: int, decay=0.02):
        self.model, self.steps, self.rate = model, steps, rate
        self.path, self.log_path = args.work / f"{args.name or stage}.pt", args.work / f"{args.name or stage}.jsonl"
        parameters = [p for p in parameters if p.requires_grad]
        groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
                  {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0}]
        self.parameters = parameters
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-8)
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.step, self.seconds, self.saved = 0, 0.0, time.time()
        self.recent: dict[str, list[float]] = {}  # losses since the last row of the curve
        self.deadline = time.time() + 60 * args.minutes
        if self.path.exists():
            state = torch.load(self.path, map_location=args.device)
            model.load_state_dict(state["latent"])
            self.average.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
            print(f"resumed {self.path} at step {self.step}", flush=True)
            seed(args.seed + self.step)  # not the same draws again
        self.clock = time.time()

    def running(self) -> bool:
        """False at the end of the stage. Saves and exits with a failure at the end of this run's time."""
        if time.time() > self.deadline and self.step < self.steps:
            self.save()
            raise SystemExit(f"{self.path}: the time is up at step {self.step} of {self.steps}; run again to go on")
        return self.step < self.steps

    def update(self, losses: dict[str, torch.Tensor], weights: dict[str, float]) -> None:
        warm = min(1.0, (self.step + 1) / 100)
        rate = self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.step / self.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = sum(weights[name] * value for name, value in losses.items())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(0.998, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep) \
                if hasattr(torch, "_foreach_lerp_") else [
                    a.lerp_(p, 1 - keep) for a, p in zip(self.average.parameters(), self.model.parameters())]
        for name, value in losses.items():
            self.recent.setdefault(name, []).append(float(value.detach()))
        if self.step % 50 == 0:
            self.log({name: round(statistics.fmean(values), 4) for name, values in self.recent.items()})
            self.recent = {}
        if time.time() - self.saved > 180 or self.step == self.steps:
            self.save()

    def log(self, row: dict) -> None:
        self.seconds, self.clock = self.seconds + time.time() - self.clock, time.time()
        row = {"step": self.step, "seconds": round(self.seconds), **row}
        print(json.dumps(row), flush=True)
        with self.log_path.open("a") as out:
            out.write(json.dumps(row) + "\n")

    def save(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        torch.save({"config": self.model.config, "model": self.average.state_dict(), "latent": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds}, temporary)
        os.replace(temporary, self.path)
        self.saved = time.time()


# --- stages ---------------------------------------------------------------------------------------

def language(args, model, tokenizer) -> None:
    config = model.config
    lines = {clean_caption(line) for path in args.text for line in path.read_text().splitlines()}
    lines |= {clean_caption(c) for rows in load_captions(args.captions, "train")[1] for c in rows}
    rows = [wrap(config, tokenizer.encode(line)) for line in sorted(lines) if 3 <= len(line.split()) <= 24]
    rows.sort(key=len)
    print(f"{len(rows)} lines", flush=True)
    trainer = Trainer(args, "language", model, [*model.decoder.parameters(), *model.embedding.parameters()],
                      args.rate or 1.5e-3, args.steps or 900)
    while trainer.running():
        start = random.randrange(max(1, len(rows) - 255))  # neighbours have the same length: no padding
        tokens = pad(rows[start:start + 256], config["pad_token_id"]).to(args.device)
        trainer.update({"lm": token_loss(model, model.logits(tokens[:, :-1]), tokens)}, {"lm": 1.0})


def at_teachers_grid(features: torch.Tensor) -> torch.Tensor:
    """[B, g * g, features] of a student whose grid is another than the teacher's, resampled to it."""
    side = round(features.shape[1] ** 0.5)
    if side == GRID:
        return features
    grid = features.transpose(1, 2).unflatten(-1, (side, side))
    return F.interpolate(grid, (GRID, GRID), mode="bilinear", antialias=True, align_corners=False).flatten(2).transpose(1, 2)


def encoder(args, model, tokenizer) -> None:
    views, held = (Views(args.work / "views", split) for split in ("train", "val"))
    features = model.config["vision"]["feature_size"]
    vision = model.vision
    first = 0 if args.whole else STEM_LAYERS
    vision.stem[:first].requires_grad_(False)

    def inputs(split):
        """A function of rows and views: pixels where every convolution learns, else what the frozen ones make of them."""
        if args.whole:
            return lambda rows, view: centred(split.pixels(rows, view), args.device)
        return StemCache(model, split, args.device)

    seen, held_seen = inputs(views), inputs(held)
    captioner = captioning.load_tutor(args.through, args.device) if args.through else None
    trainer = Trainer(args, "encoder", model, vision.parameters(), args.rate or 1.5e-3, args.steps or 1500)

    def losses(net, x, wanted):
        got = at_teachers_grid(net.transform(net.run_stem(x, first)))
        errors = {"mse": F.mse_loss(got, wanted), "cosine": 1 - F.cosine_similarity(got, wanted, -1).mean()}
        if captioner:
            errors["through"] = F.mse_loss(captioner.compressor(got), captioner.compressor(wanted))
        return errors

    while trainer.running():
        rows, view = np.random.randint(len(views), size=64), np.random.randint(views.count, size=64)
        wanted = views.grids(rows, view, features).to(args.device).float()
        trainer.update(losses(vision, seen(rows, view), wanted), {"mse": 1.0, "cosine": 0.5, "through": THROUGH_WEIGHT})
        if trainer.step % 250 == 0:
            views.look()
            rows = np.arange(200)
            with torch.no_grad():
                got = losses(trainer.average.vision, held_seen(rows, 0), held.grids(rows, 0, features).to(args.device).float())
            trainer.log({"views": views.count, **{"val_" + name: round(float(v), 4) for name, v in got.items()}})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=("language", "encoder", "caption", "joint", "critic"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("default_config.json"))
    parser.add_argument("--name", help="of checkpoint and curve, where it is not the stage's")
    parser.add_argument("--components", type=int, help="of the teacher's grid, where they are not the configuration's (a tutor's)")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rate", type=float, help="at its highest; otherwise the stage's own")
    parser.add_argument("--batch", type=int, default=32, help="photos a step (caption and joint)")
    parser.add_argument("--photos", type=int, help="train on the first so many alone (caption and joint)")
    parser.add_argument("--captions-each", type=int, default=5)
    parser.add_argument("--infonce", type=float, default=1.0, help="multiplies the paper's weight")
    parser.add_argument("--dropout", type=float, default=0.1, help="of the decoder's branches and of vision tokens")
    parser.add_argument("--tutors", type=Path, nargs="*", default=[],
                        help="checkpoints of the caption stage to learn from: their next words, by the teacher's grid")
    parser.add_argument("--imitation", type=float, default=0.03, help="weight of the tutors' words beside the reward (critic)")
    parser.add_argument("--on-grid", action="store_true", help="captions of the teacher's grid instead of pixels (critic)")
    parser.add_argument("--anchors", type=float, default=1.0,
                        help="weight of the contrast against the first tutor's space")
    parser.add_argument("--blind", type=float, default=0.2,
                        help="share of the captions with episodes like them to read that see nothing else (caption and joint)")
    parser.add_argument("--no-consistency", dest="consistency", action="store_false", help="leave that loss out")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after so long; resumable")
    parser.add_argument("--evaluate-every", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="train the first five convolutions too (encoder; a step takes longer)")
    parser.add_argument("--through", type=Path,
                        help="a checkpoint or model of the teacher's grid: the error of what its compressor makes of the grid counts too (encoder)")
    parser.add_argument("--float", action="store_true", help="train the same architecture unquantised")
    parser.add_argument("--start", type=Path, nargs="*", default=[],
                        help="checkpoints or exported models to start from, as PART=PATH (PART: a submodule of the model, comma-separated)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    seed(args.seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    quant.matmul_dtype, quant.ternary = torch.bfloat16, not args.float
    config = load_config(args.config)
    if args.components:
        config["vision"]["feature_size"] = args.components
    model = BitMar(config)
    starts = [str(item).split("=") for item in args.start]
    if not any("vision" in parts.split(",") for parts, _ in starts):
        model.vision.stem[:STEM_LAYERS].load_state_dict(torch.load(args.work / "stem.pt")["stem"])
    for parts, path in starts:
        state = read_checkpoint(path)["model"]
        wanted = tuple(part + "." for part in parts.split(","))
        missing = model.load_state_dict({k: v for k, v in state.items() if k.startswith(wanted)}, strict=False)
        if missing.unexpected_keys:
            raise SystemExit(f"{path}: unexpected {missing.unexpected_keys[:3]}")
    model.to(args.device)
    tokenizer = Tokenizer(args.work / "tokenizer.json")
    if args.stage in ("language", "encoder"):
        {"language": language, "encoder": encoder}[args.stage](args, model, tokenizer)
        return

    def trainer_of(parameters):
        return Trainer(args, args.stage, model, parameters, args.rate or 1.2e-3, args.steps or 1500)

    cache = None if args.stage == "caption" or args.on_grid else lambda views: StemCache(model, views, args.device)
    stage = captioning.critic if args.stage == "critic" else captioning.caption
    stage(args, model, tokenizer, trainer_of, cache)


if __name__ == "__main__":
    main()
