"""What each choice in the vision encoder is worth: short runs of the encoder stage that differ in one thing each.

usage: python -m bitmar.ablation configs --out DIR            writes DIR/NAME.json for each variant of the configuration
       python -m bitmar.ablation report --data DIR --views DIR --captioner MODEL CHECKPOINT...

The report: of each checkpoint the error of its grid on Flickr8k's validation photos (all that are described, where there are none of them), and the CIDEr of what `captioner` (a model
that is trained; its own encoder is not used) says of that grid. models/ablate.sh runs them all.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

import torch
import torch.nn.functional as F

from . import quant
from .captioning import Seen
from .data import Views, clean_caption, load_rows
from .export import read_checkpoint
from .metrics import score
from .model import BitMar, load_config
from .prepare import open_at
from .stem import STEM_LAYERS
from .tokenizer import Tokenizer
from .train import at_teachers_grid
from .views import open_photo, whole


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
        model = restore(path)
        size, grids = model.config["vision"]["image_size"], []
        for start in range(0, len(images), 20):
            pixels = whole(images[start:start + 20], size).transpose(0, 3, 1, 2)
            stem = model.vision.run_stem(torch.from_numpy(pixels).float() - 128, 0, STEM_LAYERS)  # ternary in any case
            with quant.computing(model, ternary=path.stem != "float"):
                grids.append(at_teachers_grid(model.vision.transform(model.vision.run_stem(stem, STEM_LAYERS))))
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
    configs = commands.add_parser("configs")
    configs.add_argument("--out", type=Path, required=True)
    table = commands.add_parser("report")
    for name in ("--data", "--views", "--captioner"):
        table.add_argument(name, type=Path, required=True)
    table.add_argument("checkpoints", type=Path, nargs="+")
    args = parser.parse_args()
    if args.command == "report":
        report(args)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for name, config in variants(load_config(Path(__file__).with_name("default_config.json"))).items():
        (args.out / f"{name}.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
