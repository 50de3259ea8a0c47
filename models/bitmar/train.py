"""Training, stage by stage; each stage resumes from its own checkpoint.

  language  the decoder learns captions as plain text, without pictures
  encoder   the vision transformer learns to predict the teacher's grid from pixels (frozen stem)
  caption   compressor, text encoder, fusion, memory and decoder learn to caption the teacher's grid
  joint     everything after the stem learns to caption from pixels
  critic    the same, rewarded for the score of its own captions (see captioning.py for these three)
  recall    what the memory is searched by (see recall.py)
  words     which words a picture's captions have (see words.py)

usage: python -m bitmar.train STAGE --data DIR --work DIR [--steps N | --seconds S] [--text FILE...]

--data is what bitmar.prepare made. --work holds views/ (see views.py), stem.pt (stem.py), tokenizer.json (tokenizer.py) and receives
STAGE.pt (checkpoint, resumed when present) and STAGE.jsonl (learning curve).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import captioning, quant
from .data import ResidentViews, Views, fingerprint
from .model import BitMar, load_config
from .quant import quantize_activation
from .recall import recall
from .stem import STEM_LAYERS
from .tokenizer import Tokenizer
from .views import GRID
from .words import words

KINDS_WEIGHT = 0.3  # of the teacher's kinds of thing, beside the error of the grid
THROUGH_WEIGHT = 3.0  # of the error after a captioner's compressor, beside that of the grid


def centred(pixels: torch.Tensor, device) -> torch.Tensor:
    """Pixels [B, 3, S, S] of 0 to 255 as the first convolution takes them: -128 to 127, in float."""
    return (pixels.to(device).float() - 128).contiguous(memory_format=torch.channels_last)


class Pixels:
    """What the encoder takes where all of its convolutions learn."""

    first = 0  # of the convolutions that learn

    def __init__(self, views: Views, device):
        self.views, self.device = views, device

    def __call__(self, rows, view) -> torch.Tensor:
        return centred(self.views.pixels(rows, view), self.device)


class StemCache:
    """Frozen stem outputs as int8 maps, computed once a view, in files named after the stem's weights.

    The next convolution quantises its input map to int8 with one scale, so this loses nothing."""

    first = STEM_LAYERS

    def __init__(self, model: BitMar, views: Views, device):
        self.model, self.views, self.device = model, views, device
        self.name = f"stem-{fingerprint(model.vision.stem[:STEM_LAYERS].parameters())}"
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


def backward(losses: dict[str, torch.Tensor], weights: dict[str, float]) -> None:
    """Gradients of the sum of the losses, weighed."""
    sum(weights[name] * value for name, value in losses.items()).backward()


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
        fused = {"fused": True} if str(args.device).startswith("cuda") else {}
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-8, **fused)
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.step, self.seconds, self.saved = 0, 0.0, time.time()
        self.recent: dict[str, list[torch.Tensor]] = {}  # losses since the last row of the curve
        self.deadline, self.limit = time.time() + 60 * args.minutes, args.seconds
        if self.path.exists():
            state = torch.load(self.path, map_location=args.device)
            model.load_state_dict(state["latent"])
            self.average.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
            print(f"resumed {self.path} at step {self.step}", flush=True)
            seed(args.seed + self.step)  # not the same draws again
        self.clock, self.began = time.time(), self.step

    def progress(self) -> float:
        """Share of the stage that is done: by its steps, or by the clock where it has a time instead."""
        return min(1.0, (self.seconds + time.time() - self.clock) / self.limit if self.limit else self.step / self.steps)

    def running(self) -> bool:
        """False at the end of the stage, which is saved. Saves and exits with a failure at the end of this run's time."""
        if self.progress() == 1:
            if self.step > self.began:
                self.save()
            return False
        if time.time() > self.deadline:
            self.save()
            raise SystemExit(f"{self.path}: the time is up at step {self.step} of {self.steps}; run again to go on")
        return True

    def update(self, losses: dict[str, torch.Tensor], weights: dict[str, float]) -> None:
        """A step by the sum of the losses, weighed."""
        self.optimizer.zero_grad(set_to_none=True)
        backward(losses, weights)
        self.advance(losses)

    def advance(self, losses: dict[str, torch.Tensor]) -> None:
        """A step by the gradients that the parameters have; the losses are for the curve."""
        warm = min(1.0, (self.step + 1) / 100)
        rate = self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress())))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(0.998, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep) \
                if hasattr(torch, "_foreach_lerp_") else [
                    a.lerp_(p, 1 - keep) for a, p in zip(self.average.parameters(), self.model.parameters())]
        for name, value in losses.items():
            self.recent.setdefault(name, []).append(value.detach().clone())  # a number would wait for the GPU
        if self.step % 50 == 0:
            self.log({name: round(float(torch.stack(values).mean()), 4) for name, values in self.recent.items()})
            self.recent = {}
        if time.time() - self.saved > 180:
            self.save()

    def log(self, row: dict) -> None:
        self.count_time()
        row = {"step": self.step, "seconds": round(self.seconds), **row}
        print(json.dumps(row), flush=True)
        with self.log_path.open("a") as out:
            out.write(json.dumps(row) + "\n")

    def count_time(self) -> None:
        self.seconds, self.clock = self.seconds + time.time() - self.clock, time.time()

    def save(self) -> None:
        self.count_time()
        temporary = self.path.with_suffix(".tmp")
        torch.save({"config": self.model.config, "ternary": quant.ternary, "model": self.average.state_dict(), "latent": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds}, temporary)
        os.replace(temporary, self.path)
        self.saved = time.time()


# --- stages ---------------------------------------------------------------------------------------

def language(args, model, tokenizer) -> None:
    text = captioning.Text(args, model.config, tokenizer)
    print(f"{len(text.rows)} lines", flush=True)
    trainer = Trainer(args, "language", model, [*model.decoder.parameters(), *model.embedding.parameters()],
                      args.rate or 1.5e-3, args.steps or 900)
    while trainer.running():
        trainer.update({"lm": text.loss(model, 256)}, {"lm": 1.0})


def at_teachers_grid(features: torch.Tensor) -> torch.Tensor:
    """[B, g * g, features] of a student whose grid is another than the teacher's, resampled to it."""
    side = round(features.shape[1] ** 0.5)
    if side == GRID:
        return features
    grid = features.transpose(1, 2).unflatten(-1, (side, side))
    return F.interpolate(grid, (GRID, GRID), mode="bilinear", antialias=True, align_corners=False).flatten(2).transpose(1, 2)


class Replay:
    """Losses and gradients of a step, recorded once as a CUDA graph: a step is thousands of kernels, which take longer to
    start than to run. Inputs keep their shapes; they may come from the CPU."""

    def __init__(self, optimizer, step, inputs: list[torch.Tensor], device):
        """step: from inputs to losses, after their gradients"""
        self.inputs = [value.to(device) for value in inputs]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is done once, such as the choice of algorithms, is not to be recorded
            for _ in range(3):
                optimizer.zero_grad(set_to_none=True)
                step(*self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.losses = step(*self.inputs)

    def __call__(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        for mine, given in zip(self.inputs, inputs):
            mine.copy_(given)
        self.graph.replay()
        return self.losses


def vision_inputs(args, model):
    """What the encoder is given of some views, by their rows and views: see Pixels and StemCache."""
    return lambda views: Pixels(views, args.device) if args.whole else StemCache(model, views, args.device)


def encoder(args, model, tokenizer) -> None:
    features = model.config["vision"]["feature_size"]
    cuda = str(args.device).startswith("cuda")

    def views_of(split: str) -> Views:
        return ResidentViews(args.work / "views", split, features, args.device) if cuda and args.whole else Views(args.work / "views", split)

    views, held = views_of("train"), Views(args.work / "views", "val")
    mixed = views_of("mixed") if args.mixed else None
    vision = model.vision
    inputs_of = vision_inputs(args, model)
    sources = [(inputs_of(split), split) for split in (views, mixed) if split]
    held_seen = inputs_of(held)
    vision.stem[:held_seen.first].requires_grad_(False)
    captioner = captioning.load_tutor(args.through, args.device) if args.through else None
    trainer = Trainer(args, "encoder", model, vision.parameters(), args.rate or 1.5e-3, args.steps or 1500)
    batch = args.batch or 64
    counts = [batch - round(batch * args.mixed), round(batch * args.mixed)]
    weights = {"mse": 1.0, "cosine": 0.5, "through": THROUGH_WEIGHT, "kinds": KINDS_WEIGHT}
    kinds_file = args.work / "views" / "kinds.pt"
    kinds = {name: value.to(args.device) for name, value in torch.load(kinds_file).items()} if kinds_file.exists() else None

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder sees and the grids that it should make of it."""
        seen, wanted = [], []
        for (inputs, split), count in zip(sources, counts):
            rows, view = np.random.randint(len(split), size=count), np.random.randint(split.count, size=count)
            seen.append(inputs(rows, view)), wanted.append(split.grids(rows, view))
        return torch.cat(seen), torch.cat(wanted)

    def losses(net, x, wanted):
        whole = wanted.to(args.device).float()
        wanted = whole[..., :features]
        got = at_teachers_grid(net.transform(net.run_stem(x, held_seen.first)))
        errors = {"mse": F.mse_loss(got, wanted), "cosine": 1 - F.cosine_similarity(got, wanted, -1).mean()}
        if captioner:
            errors["through"] = F.mse_loss(captioner.compressor(got), captioner.compressor(wanted))
        if kinds:  # which of the teacher's kinds the mean of the grid tells, by the teacher's own classifier
            of = lambda grid: grid.mean(1) @ kinds["weight"][:grid.shape[-1]] + kinds["bias"]
            errors["kinds"] = F.kl_div(of(got).log_softmax(-1), of(whole).log_softmax(-1), log_target=True, reduction="batchmean")
        return errors

    def step(x, wanted):
        values = losses(vision, x, wanted)
        backward(values, weights)
        return values

    replay = Replay(trainer.optimizer, step, list(draw()), args.device) if cuda else None
    while trainer.running():
        if replay:
            trainer.advance(replay(*draw()))
        else:
            trainer.update(losses(vision, *draw()), weights)
        if trainer.step % 250 == 0:
            for _, split in sources:
                split.look()
            rows = np.arange(0, len(held), max(1, len(held) // 400))
            with torch.no_grad():
                got = losses(trainer.average.vision, held_seen(rows, 0), held.grids(rows, 0))
            trainer.log({"views": views.count, **{"val_" + name: round(float(v), 4) for name, v in got.items()}})


def with_new_tokens(state: dict, vocabulary: int) -> dict:
    """The state of a model whose vocabulary is shorter: tokens at its end begin as the mean of the others, expected of no picture."""
    for name, fill in (("embedding.weight", None), ("words.bias", -12.0), ("words.rarity", 0.0)):
        value = state.get(name)
        if value is not None and len(value) < vocabulary:
            more = value.mean(0, keepdim=True) if fill is None else value.new_full((1,), fill)
            state[name] = torch.cat([value, more.expand(vocabulary - len(value), *value.shape[1:])])
    return state


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=("language", "encoder", "caption", "joint", "critic", "recall", "words"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the folder that bitmar.prepare filled")
    parser.add_argument("--text", type=Path, nargs="*", default=[],
                        help="files of lines to learn without pictures (language; beside the pictures, caption and joint)")
    parser.add_argument("--found", type=Path, help="sentences for photos that have labels alone (see tell.py)")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("default_config.json"))
    parser.add_argument("--name", help="of checkpoint and curve, where it is not the stage's")
    parser.add_argument("--components", type=int, help="of the teacher's grid, where they are not the configuration's (a tutor's)")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seconds", type=float, help="how long the stage lasts, instead of its steps; its schedule goes by the clock")
    parser.add_argument("--rate", type=float, help="at its highest; otherwise the stage's own")
    parser.add_argument("--batch", type=int, help="photos a step: 64 views for the encoder, otherwise 32 and a multiple of 4")
    parser.add_argument("--mixed", type=float, default=0.0, help="share of the views that are of two photos mixed (encoder; see views.py)")
    parser.add_argument("--photos", type=int, help="train on the first so many alone (caption and joint)")
    parser.add_argument("--captions-each", type=int, default=5)
    parser.add_argument("--infonce", type=float, default=1.0, help="multiplies the paper's weight")
    parser.add_argument("--dropout", type=float, default=0.1, help="of the decoder's branches and of vision tokens")
    parser.add_argument("--tutors", type=Path, nargs="*", default=[],
                        help="checkpoints of the caption stage to learn from: their next words, by the teacher's grid")
    parser.add_argument("--imitation", type=float, default=0.03, help="weight of the tutors' words beside the reward (critic)")
    parser.add_argument("--on-grid", action="store_true", help="of the packed grids instead of pixels (critic, recall, words)")
    parser.add_argument("--anchors", type=float, default=1.0,
                        help="weight of the contrast against the first tutor's space; 0: none")
    parser.add_argument("--blind", type=float, default=0.2,
                        help="share of the captions with episodes like them to read that see nothing else")
    parser.add_argument("--no-consistency", dest="consistency", action="store_false", help="leave that loss out")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after so long; resumable")
    parser.add_argument("--evaluate-every", type=int, default=300, help="steps of the stages that caption; 0: never, not even at the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="train the first five convolutions too (a step takes longer)")
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
    torch.backends.cudnn.benchmark = True  # the shapes of the convolutions' inputs do not change
    config = load_config(args.config)
    if args.components:
        config["vision"]["feature_size"] = args.components
    model = BitMar(config)
    starts = [str(item).split("=") for item in args.start]
    if not any("vision" in parts.split(",") for parts, _ in starts):
        model.vision.stem[:STEM_LAYERS].load_state_dict(torch.load(args.work / "stem.pt")["stem"])
    for parts, path in starts:
        state = with_new_tokens(captioning.read_weights(path)["model"], config["vocab_size"])
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
        rate, steps = {"words": (2e-3, 1500), "recall": (3e-4, 400)}.get(args.stage, (1.2e-3, 1500))
        return Trainer(args, args.stage, model, parameters, args.rate or rate, args.steps or steps)

    if args.stage in ("recall", "words"):
        {"recall": recall, "words": words}[args.stage](args, model, tokenizer, trainer_of, None if args.on_grid else lambda views: Pixels(views, args.device))
        return
    inputs = None if args.stage == "caption" or args.on_grid else vision_inputs(args, model)
    stage = captioning.critic if args.stage == "critic" else captioning.caption
    stage(args, model, tokenizer, trainer_of, inputs)


if __name__ == "__main__":
    main()
