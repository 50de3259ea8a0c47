"""Training by recipes: a recipe is a list of stages (models/recipes/*.toml, see recipe.py), done one after another.

usage: python -m bitmar.train RECIPE [--data DIR] [--work DIR] [--only STAGE...] [--set STAGE.SETTING=VALUE...] [--minutes N]

RECIPE is a file, or the name of one of models/recipes. --data is what bitmar.prepare made; the recipe `smoke` makes its own. --work receives
all that is made: per stage NAME.pt (the checkpoint) and NAME.jsonl (its learning curve), or the folder NAME. The same command goes on with a
run that was interrupted; a stage that is done is left out. Stages and their settings are in settings.py.

With several GPUs: torchrun --nproc-per-node N -m bitmar.train RECIPE ... (see parallel.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

from . import captioning, evaluate, export, mix, parallel, prepare, recipe, see, shapes, stem, tell, tokenizer, views
from .data import ResidentViews, Views
from .inputs import inputs_of
from .model import BitMar, load_config
from .quant import fast_products, set_precision
from .recall import recall
from .settings import CAPTIONER, Deadline, Encoder, Language, Learning, Run
from .settings import Evaluate, Export, Mix, Photos, See, Stage, Stem, Tell, Tokens
from .settings import Views as Packing
from .texts import ASK
from .trainer import Replay, Trainer, backward, seed
from .views import GRID
from .words import words

KINDS_WEIGHT = 0.3  # of the teacher's kinds of thing, beside the error of the grid
THROUGH_WEIGHT = 3.0  # of the error after a captioner's compressor, beside that of the grid


# --- stages that learn --------------------------------------------------------------------------------------------------------

def language(settings: Language, run: Run, model, tokenizer) -> None:
    text = captioning.Text(run, model.config, tokenizer, settings.text)
    trainer = Trainer(settings, run, model, [*model.decoder.parameters(), *model.embedding.parameters()])
    while trainer.running():
        trainer.update({"lm": text.loss(model, settings.batch)}, {"lm": 1.0})


def at_teachers_grid(features: torch.Tensor) -> torch.Tensor:
    """[B, g * g, features] of a student whose grid is another than the teacher's, resampled to it."""
    side = round(features.shape[1] ** 0.5)
    if side == GRID:
        return features
    grid = features.transpose(1, 2).unflatten(-1, (side, side))
    return F.interpolate(grid, (GRID, GRID), mode="bilinear", antialias=True, align_corners=False).flatten(2).transpose(1, 2)


def encoder(settings: Encoder, run: Run, model, tokenizer) -> None:
    features, device, processes = model.config["vision"]["feature_size"], run.device, run.processes
    cuda, folder = str(device).startswith("cuda"), run.work / settings.views

    def views_of(split: str) -> Views:
        return ResidentViews(folder, split, features, device) if cuda and settings.whole else Views(folder, split)

    views, held = views_of("train"), Views(folder, "val")
    mixed = views_of("mixed") if settings.mixed else None
    vision = model.vision
    sources = [(inputs_of(model, split, settings.whole, device), split) for split in (views, mixed) if split]
    held_seen = inputs_of(model, held, settings.whole, device)
    vision.stem[:held_seen.first].requires_grad_(False)
    captioner = captioning.load_tutor(run.checkpoint(settings.through), device, run.precision(settings.ternary)) if settings.through else None
    trainer = Trainer(settings, run, model, vision.parameters())
    counts = [settings.batch - round(settings.batch * settings.mixed), round(settings.batch * settings.mixed)]
    if any(count % processes.count for count in counts):
        raise SystemExit(f"{settings.name}: {counts[0]} views and {counts[1]} mixed ones are no multiple of {processes.count} processes")
    weights = {"mse": 1.0, "cosine": 0.5, "through": THROUGH_WEIGHT, "kinds": KINDS_WEIGHT}
    kinds_file = folder / "kinds.pt"
    kinds = {name: value.to(device) for name, value in torch.load(kinds_file).items()} if kinds_file.exists() else None

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder sees and the grids that it should make of it: this process's part of what all draw."""
        seen, wanted = [], []
        for (inputs, split), count in zip(sources, counts):
            part = processes.part(count)
            rows, view = np.random.randint(len(split), size=count)[part], np.random.randint(split.count, size=count)[part]
            seen.append(inputs(rows, view)), wanted.append(split.grids(rows, view))
        return torch.cat(seen), torch.cat(wanted)

    def losses(net, x, wanted):
        whole = wanted.to(device).float()
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

    replay = Replay(trainer.optimizer, step, list(draw()), device) if cuda else None
    while trainer.running():
        if replay:
            trainer.advance(replay(*draw()))
        else:
            trainer.update(losses(vision, *draw()), weights)
        if trainer.step % 250 == 0:
            if processes.count == 1:  # several might not find the same number of views
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


# --- one stage ----------------------------------------------------------------------------------------------------------------

LEARN: dict[str, Callable] = {"language": language, "encoder": encoder, "caption": captioning.caption, "joint": captioning.caption,
                              "critic": captioning.critic, "recall": recall, "words": words}
TOGETHER = ("language", "encoder", "caption", "joint", "critic")  # done by all processes; the others are short, and done by the first


def tokenizer_of(run: Run) -> tokenizer.Tokenizer:
    return tokenizer.Tokenizer(run.checkpoint("tokenizer", "json"))


def model_of(settings: Learning, run: Run, vocabulary: tokenizer.Tokenizer) -> BitMar:
    """The model that a stage begins with."""
    config = recipe.merged(load_config(settings.config) if settings.config else run.config, {"vocab_size": len(vocabulary.tokens), "ask": {"token_id": vocabulary.special[ASK]}})
    if settings.components:
        config["vision"] = {**config["vision"], "feature_size": settings.components}
    model = set_precision(BitMar(config), run.precision(settings.ternary))
    if isinstance(settings, Encoder) and settings.stem:
        model.vision.stem[:stem.STEM_LAYERS].load_state_dict(torch.load(run.checkpoint(settings.stem))["stem"])
    for names, source in settings.start.items():
        path = run.checkpoint(source)
        parts = [part for name in names.split(",") for part in (CAPTIONER if name == "captioner" else (name,))]
        unknown = set(parts) - {name for name, _ in model.named_children()}
        if unknown:
            raise SystemExit(f"{settings.name}: start names {', '.join(sorted(unknown))}, which the model has not")
        state = with_new_tokens(captioning.read_weights(path, ternary=settings.ternary)["model"], config["vocab_size"])
        missing = model.load_state_dict({k: v for k, v in state.items() if k.split(".")[0] in parts}, strict=False)
        if missing.unexpected_keys:
            raise SystemExit(f"{path}: unexpected {missing.unexpected_keys[:3]}")
    return model.to(run.device)


def learn(kind: str, settings: Learning, run: Run) -> None:
    seed(settings.seed)
    vocabulary = tokenizer_of(run)
    LEARN[kind](settings, run, model_of(settings, run, vocabulary), vocabulary)


def photos(settings: Photos, run: Run) -> None:
    shapes.make(run.work / settings.name / "shapes", settings.count, settings.held, settings.side, settings.seed)
    prepare.prepare([run.work / settings.name], run.data)


def tokens(settings: Tokens, run: Run) -> None:
    out = run.work / "tokenizer.json"
    if settings.extend:
        tokenizer.extend(run.checkpoint(settings.extend) / "tokenizer.json", out)
        return
    lines = tokenizer.lines_of([run.data, *([run.data / "text.txt"] if settings.text else [])])
    tokenizer.write(out, *tokenizer.train(lines, settings.size), tokenizer.ADDED)


def pack(settings: Packing, run: Run) -> None:
    shared = {"data": run.data, "out": run.work / settings.name, "teacher": settings.teacher, "cache": run.cache, "size": settings.size,
              "teacher_weights": settings.teacher_weights, "like": run.checkpoint(settings.like) if settings.like else None,
              "grids_of": run.work / settings.grids_of if settings.grids_of else None, "device": run.device}
    packing = views.Packing(**shared, views=settings.views, mixed=settings.mixed)
    count = settings.processes if run.device.startswith("cuda") else 1
    if count == 1:
        views.pack(packing)
        return
    views.pack(dataclasses.replace(packing, views=1, mixed=0))  # finds the projection
    shards = [subprocess.Popen([sys.executable, "-m", "bitmar.views", *packing.arguments(), "--shard", f"{i}/{count}"]) for i in range(count)]
    if any([shard.wait() for shard in shards]):
        raise SystemExit("a process that packs views failed; see above")


def stems(settings: Stem, run: Run) -> None:
    stem.learn(run.work / settings.views, run.work / f"{settings.name}.pt", run.cache, run.config, settings.steps)


def telling(settings: Tell, run: Run) -> None:
    tell.tell(run.data, run.work / settings.views, tokenizer_of(run), run.checkpoint(settings.checkpoint), run.work / f"{settings.name}.jsonl", run.products_on_cpu)


def seeing(settings: See, run: Run) -> None:
    see.see(run.checkpoint(settings.checkpoint), run.work / settings.views, run.work / settings.name, settings.views_each, products=run.products_on_cpu)


def mixing(settings: Mix, run: Run) -> None:
    begin, end = (export.read_checkpoint(run.checkpoint(name)) for name in (settings.begin, settings.end))
    torch.save(mix.mix(begin, end, settings.share), run.work / f"{settings.name}.pt")


def exporting(settings: Export, run: Run) -> None:
    size = export.export_checkpoint(run.checkpoint(settings.checkpoint), run.work / "tokenizer.json", run.work / settings.name)
    print(f"{run.work / settings.name}: {size} bytes of weights", flush=True)


def evaluating(settings: Evaluate, run: Run) -> None:
    scores = evaluate.by_torch(run.work / settings.model, run.data, settings.limit)
    (run.work / f"{settings.name}.json").write_text(json.dumps(scores, indent=1) + "\n")
    for name, row in scores.items():
        print(name, json.dumps(row), flush=True)


MAKE: dict[str, Callable] = {"photos": photos, "tokenizer": tokens, "views": pack, "stem": stems, "tell": telling, "see": seeing, "mix": mixing,
                             "export": exporting, "evaluate": evaluating}


def do(kind: str, settings: Stage, run: Run) -> None:
    """One stage of a recipe."""
    if kind in LEARN:
        learn(kind, settings, run)
    else:
        MAKE[kind](settings, run)


def do_all(chosen: recipe.Recipe, run: Run, only: list[str]) -> None:
    """The stages of a recipe that are not done, or those named."""
    say = lambda text: print(text, flush=True) if run.processes.first else None
    done = recipe.Done(run.work)
    for number, (name, (kind, settings)) in enumerate(chosen.stages.items(), 1):
        if only and name not in only:
            continue
        if done.has(kind, settings):
            say(f"{name}: done before")
            continue
        say(f"{name}: {kind}, stage {number} of {len(chosen.stages)}")
        threads = torch.get_num_threads()
        if kind in TOGETHER:
            do(kind, settings, run)
        elif run.processes.first:
            do(kind, settings, dataclasses.replace(run, processes=parallel.ALONE))
        torch.set_num_threads(threads)
        run.processes.wait()  # what the first process made is there for the others
        if run.processes.first:
            done.add(kind, settings)
        run.processes.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains by a recipe; see docs/training.md.")
    parser.add_argument("recipe", help="a .toml file, or the name of one of models/recipes")
    parser.add_argument("--data", type=Path, help="the folder that bitmar.prepare filled (WORK/data, where it is not given)")
    parser.add_argument("--work", type=Path, help="receives all that is made (runs/RECIPE, where it is not given)")
    parser.add_argument("--only", nargs="+", default=[], metavar="STAGE", help="do these stages alone")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.SETTING=VALUE", dest="changes", help="another value than the recipe's")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after so long; the same command goes on")
    parser.add_argument("--shipped", type=Path, default=Run.shipped, help="the exported model that a recipe calls \"shipped\"")
    parser.add_argument("--cache", type=Path, default=Run.cache, help="where teachers are kept that are downloaded")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--products", choices=("bfloat16", "float32"), help="what operands of products are rounded to; the faster on this device, where it is not given")
    args = parser.parse_args()
    chosen = recipe.load(args.recipe, args.changes)
    unknown = [name for name in args.only if name not in chosen.stages]
    if unknown:
        raise SystemExit(f"no stage {unknown[0]!r} in {chosen.name}; it has {', '.join(chosen.stages)}")
    work = args.work or Path("runs") / chosen.name
    data = args.data or work / "data"
    if not (data / "photos.jsonl").exists() and not any(kind == "photos" for kind, _ in chosen.stages.values()):
        raise SystemExit(f"{data}: no photos.jsonl; name the folder that bitmar.prepare filled: --data DIR")
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.cudnn.benchmark = True  # the shapes of the convolutions' inputs do not change
    products = getattr(torch, args.products) if args.products else fast_products(args.device)
    processes = parallel.of_torchrun(args.device)
    do_all(chosen, Run(data, work, chosen.config, args.device, products, Deadline(args.minutes), processes, args.shipped, args.cache), args.only)
    processes.end()


if __name__ == "__main__":
    main()
