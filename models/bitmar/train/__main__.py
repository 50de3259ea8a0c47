"""Training by recipes: a recipe is a list of stages (models/recipes/*.toml, see recipe.py), done one after another.

usage: python -m bitmar.train RECIPE [--data DIR] [--work DIR] [--only STAGE...] [--set STAGE.SETTING=VALUE...] [--minutes N] [--compiled]

RECIPE is a file, or the name of one of models/recipes. --data is what bitmar.prepare made; the recipe `smoke` makes its own. --work receives
all that is made: per stage NAME.pt (the checkpoint) and NAME.jsonl (its learning curve), or the folder NAME. The same command goes on with a
run that was interrupted; a stage that is done is left out. What stages do is in stages.py, their settings in settings.py.

With several GPUs: torchrun --nproc-per-node N -m bitmar.train RECIPE ... (see parallel.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

import torch

from ..deadline import Deadline
from ..model import packed
from ..model.quant import fast_products
from . import parallel, recipe
from .settings import Run
from .stages import TOGETHER, do


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
    parser = argparse.ArgumentParser("python -m bitmar.train", description="Trains by a recipe; see docs/training.md.")
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
    parser.add_argument("--compiled", action="store_true", help="compile what is worth it (torch.compile, which needs a C++ compiler on a CPU)")
    args = parser.parse_args()
    chosen = recipe.load(args.recipe, args.changes)
    unknown = [name for name in args.only if name not in chosen.stages]
    if unknown:
        raise SystemExit(f"no stage {unknown[0]!r} in {chosen.name}; it has {', '.join(chosen.stages)}")
    work = args.work or Path("runs") / chosen.name
    data = args.data or work / "data"
    kinds = {kind for kind, _ in chosen.stages.values()}
    wanted, by = ("corpus.json", "bitmar.data.corpus") if "text" in kinds else ("photos.jsonl", "bitmar.prepare")
    if not (data / wanted).exists() and "photos" not in kinds:
        raise SystemExit(f"{data}: no {wanted}; name the folder that {by} filled: --data DIR")
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.cudnn.benchmark = True  # the shapes of the convolutions' inputs do not change
    packed.compiling(args.compiled)
    products = getattr(torch, args.products) if args.products else fast_products(args.device)
    processes = parallel.of_torchrun(args.device)
    do_all(chosen, Run(data, work, chosen.config, args.device, products, Deadline(args.minutes), processes, args.shipped, args.cache, args.compiled), args.only)
    processes.end()


if __name__ == "__main__":
    main()
