"""What each choice in the vision encoder is worth: short runs of the encoder stage that differ in one thing each.

usage: python -m bitmar.eval.ablation recipe --out DIR [--steps N] [VARIANT...]
       python -m bitmar.train DIR/ablation.toml --data DATA --work WORK
       python -m bitmar.eval.ablation report --data DATA --views WORK/views --captioner MODEL WORK/ablation-*.pt

The first writes DIR/NAME.json for each variant of the configuration, and a recipe of all of them or of those named. WORK is that of the recipe
from-scratch, whose views, first convolutions and tokenizer are taken. The report: of each checkpoint the error of its grid on Flickr8k's validation photos (all that are described, where there are none of them), and the CIDEr of what `captioner` (a model
that is trained; its own encoder is not used) says of that grid.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

import torch
import torch.nn.functional as F

from ..data.dataset import Views, clean_caption, load_rows
from ..data.prepare import open_at
from ..data.tokenizer import Tokenizer
from ..data.views import open_photo, whole
from ..model import quant
from ..model.bitmar import DEFAULT_CONFIG, FIRST_LAYERS, BitMar, load_config
from ..model.export import read_checkpoint
from ..train.captioning import Seen
from ..train.encoder import at_teachers_grid
from .metrics import score

ALL = ["kept", "whole", "float", "float-to-ternary", "image-96", "image-160", "pairs-1", "pairs-5", "layers-0", "layers-4", "width-192", "width-320"]


def variants(kept: dict) -> dict[str, dict]:
    """The kept configuration and what it could have been."""
    out = {"kept": kept}

    def variant(name: str, **vision) -> dict:
        out[name] = copy.deepcopy(kept)
        out[name]["vision"].update(vision)
        return out[name]["vision"]

    for size in (96, 160):
        variant(f"image-{size}", image_size=size, grid_size=size // 16)
    *stem, pair = kept["vision"]["stem"]
    while stem[-1] == pair:
        stem.pop()
    for pairs in (1, 5):
        variant(f"pairs-{pairs}", stem=[*stem, *[pair] * pairs])
    for layers in (0, 4):
        variant(f"layers-{layers}", num_layers=layers)
    for width in (192, 320):
        changed = variant(f"width-{width}", hidden_size=width, intermediate_size=4 * width)
        next(step for step in reversed(changed["stem"]) if step["type"] == "conv")["out_channels"] = width
    return out


def recipe_of(folder: Path, names: list[str], steps: int, views: int) -> str:
    """Short runs of the encoder stage in TOML. Besides the variants of the configuration, which are files in the folder: `whole` (the first convolutions
    learn too), `float`, and `float-to-ternary` (half of the steps each)."""
    out = ['about = "What each choice in the vision encoder is worth."']

    def stage(do: str, name: str, **settings) -> None:
        out.extend(["", "[[stage]]", f'do = "{do}"', f'name = "{name}"', *(f"{key} = {value}" for key, value in settings.items())])

    def learn(name: str, config: str, steps: int, views="views", **settings) -> None:
        stage("encoder", f"ablation-{name}", config=json.dumps(str(folder / f"{config}.json")), steps=steps, views=f'"{views}"', first_convolutions='"first_convolutions"', **settings)

    for name in names:
        if name.startswith("image-"):
            packed = f"views-{name.removeprefix('image-')}"
            stage("views", packed, size=name.removeprefix("image-"), views=views, grids_of='"views"')
            learn(name, name, steps, packed)
        elif name == "float-to-ternary":
            learn("half-float", "kept", steps // 2, ternary="false")
            learn(name, "kept", steps // 2, start='{ vision = "ablation-half-float" }')
        else:
            learn(name, "kept" if name in ("whole", "float") else name, steps, **{"whole": {"whole": "true"}, "float": {"ternary": "false"}}.get(name, {}))
    return "\n".join(out) + "\n"


def products(vision) -> int:
    """Multiply-accumulates of a picture in the layers with weights."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        positions = output[0, 0].numel() if output.dim() == 4 else output[0, :, 0].numel()
        total += positions * layer.weight.numel()

    hooks = [m.register_forward_hook(count) for m in vision.modules() if isinstance(m, (quant.BitConv2d, quant.BitLinear))]
    side = round(len(vision.position_embedding) ** 0.5) * 16
    vision(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total


@torch.no_grad()
def report(args) -> None:
    directory = args.captioner
    tokenizer, captioner = Tokenizer(directory / "tokenizer.json"), restore(directory)
    held = Views(args.views, "val")
    rows = load_rows(args.data, "val")
    described = [i for i, row in enumerate(rows) if row["set"] == "flickr8k"] or [i for i, row in enumerate(rows) if row["captions"]]
    images = [open_photo(open_at(rows[i])) for i in described]
    references = [[clean_caption(text) for text, _ in rows[i]["captions"]] for i in described]
    teacher = held.grids(described, 0, captioner.config["vision"]["feature_size"]).float()
    print("| variant | vision parameters, M | products, M | squared error | cosine | CIDEr |\n|---|---|---|---|---|---|")
    for path in args.checkpoints:
        model, ternary = restore(path), read_checkpoint(path).get("ternary", True)
        size, grids = model.config["vision"]["image_size"], []
        for start in range(0, len(images), 20):
            pixels = whole(images[start:start + 20], size).transpose(0, 3, 1, 2)
            first = model.vision.run_stem(torch.from_numpy(pixels).float() - 128, 0, FIRST_LAYERS)  # ternary in any case
            with quant.computing(model, ternary=ternary):
                grids.append(at_teachers_grid(model.vision.transform(model.vision.run_stem(first, FIRST_LAYERS))))
        million = products(model.vision) / 1e6
        grid, said = torch.cat(grids), []
        for start in range(0, len(grid), 50):
            seen = Seen(captioner, grid[start:start + 50])
            condition = captioner.condition(None, seen.fused, seen.keep, seen.vision)
            said += [tokenizer.decode(ids).strip() for ids in captioner.greedy(*condition)]
        parameters = sum(p.numel() for p in model.vision.parameters()) / 1e6
        print(f"| {path.stem} | {parameters:.2f} | {million:.0f} | {F.mse_loss(grid, teacher):.3f} | "
              f"{F.cosine_similarity(grid, teacher, -1).mean():.3f} | {score(said, references)['CIDEr']:.3f} |", flush=True)


def restore(path: Path) -> BitMar:
    state = read_checkpoint(path)
    model = BitMar(state["config"]).requires_grad_(False).eval()
    model.load_state_dict(state["model"])
    return model


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("recipe")
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--steps", type=int, default=400)
    making.add_argument("--views", type=int, default=8, help="that WORK/views has, to pack as many of other sizes")
    making.add_argument("variants", nargs="*", help=f"all, where none is named: {' '.join(ALL)}")
    table = commands.add_parser("report")
    for name in ("--data", "--views", "--captioner"):
        table.add_argument(name, type=Path, required=True)
    table.add_argument("checkpoints", type=Path, nargs="+")
    args = parser.parse_args()
    if args.command == "report":
        report(args)
        return
    unknown = set(args.variants) - set(ALL)
    if unknown:
        raise SystemExit(f"no variant is called {' or '.join(sorted(unknown))}; there are {' '.join(ALL)}")
    folder = args.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in variants(load_config(DEFAULT_CONFIG)).items():
        (folder / f"{name}.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "ablation.toml").write_text(recipe_of(folder, args.variants or ALL, args.steps, args.views))


if __name__ == "__main__":
    main()
