"""Makes a model directory of a checkpoint of the authors' (docs/compat.md).

usage: python -m bitmar.compat.convert pytorch_model.bin --tokenizer GPT2 --out DIR

The checkpoint is a state_dict, alone or under "model_state_dict", "state_dict" or "model", as torch.save or safetensors wrote it.
GPT2 is a folder with GPT-2's vocab.json and merges.txt, or with a tokenizer.json. DIR/model.safetensors keeps the authors' names:
  ternary X.weight   U8 [ceil(out / 4), in], as bitmar.export packs it, rows beyond `out` being 0; X.weight_scale F32 [1]
  all else           F32 as it is; scalars as [1]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

from ..data.tokenizer import Tokenizer, convert_gpt2
from ..model.export import pack_ternary, unpack_ternary
from .checkpoint import CheckpointError, printable, read_state, shown
from .layout import PUBLISHED, Entry, Sizes, published
from .reference import Linear, Reference, Weights, ternary

END = 50256  # <|endoftext|>: the authors' token for padding, beginning and end
NAMED = 10  # wrong tensors that a message names
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
COUNT, MASK = "memory.update_count", "text_decoder.causal_mask"  # may be integers
WITHOUT_VISION = ("bias", "dropped")


def shape_text(shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def problem_of(name: str, value, entry: Entry) -> str | None:
    if not isinstance(value, torch.Tensor):
        return f"is a {type(value).__name__}, no tensor"
    if value.is_nested or value.layout != torch.strided:
        return "is sparse or nested, no array of numbers"
    if value.device.type != "cpu":
        return f"has no numbers: its device is {value.device.type}"
    shape = tuple(value.shape)
    if shape != entry.shape and not (entry.shape == () and shape == (1,)):
        return f"has shape {shape_text(shape)}, not {shape_text(entry.shape)}"
    if entry.kind == "cache":
        return None
    if value.dtype not in (FLOATING + WHOLE if name in (COUNT, MASK) else FLOATING):
        return f"has type {str(value.dtype).removeprefix('torch.')}"
    # The mask may hold infinities.
    if name != MASK and not bool(value.float().isfinite().all()):
        return "holds a number that is not finite"
    return None


def check(state: dict[str, torch.Tensor], sizes: Sizes) -> None:
    """Throws CheckpointError, which names the first tensors that are wrong, unless the state_dict is that of a model with these sizes."""
    layout = published(sizes)
    # Unknown names first: they tell why others are missing.
    problems = [f"{shown(name)} is no part of the published layout" for name in state if name not in layout]
    for name, entry in layout.items():
        if name in state and (problem := problem_of(name, state[name], entry)):
            problems.append(f"{name} {problem}")
    problems += [f"{name} is missing" for name, entry in layout.items() if name not in state and entry.kind != "cache"]
    if not problems:
        problems = [f"{name} holds a negative number" for name in ("memory.memory_importance", "memory.memory_std") if bool((state[name] < 0).any())]
    if problems:
        more = f" (and {len(problems) - NAMED} more)" if len(problems) > NAMED else ""
        raise CheckpointError("; ".join(problems[:NAMED]) + more)


def pack(t: torch.Tensor) -> torch.Tensor:
    """[out, in] in {-1, 0, 1} -> uint8 [ceil(out / 4), in]"""
    rows = t.to(torch.int8).numpy()
    return torch.from_numpy(pack_ternary(np.pad(rows, ((0, -len(rows) % 4), (0, 0)))))


def unpack(packed: torch.Tensor, out: int) -> torch.Tensor:
    return torch.from_numpy(unpack_ternary(packed.numpy())[:out].astype(np.float32))


def tensors_of(state: dict[str, torch.Tensor], sizes: Sizes) -> dict[str, torch.Tensor]:
    """Every tensor of model.safetensors by name, of a state_dict that check() lets pass"""
    out = {}
    for name, entry in published(sizes).items():
        if entry.kind == "ternary":
            t, scale = ternary(state[name].detach())
            out[name], out[f"{name}_scale"] = pack(t), scale.reshape(1)
        elif entry.kind == "float":
            out[name] = state[name].detach().float().reshape(entry.shape or (1,)).contiguous().clone()
    return out


def config_of(sizes: Sizes, end: int, without_vision: str) -> dict:
    return {
        "model_type": "bitmar-compat", "format_version": 1,
        "vocab_size": sizes.vocabulary, "hidden_size": sizes.width, "intermediate_size": sizes.hidden, "num_heads": sizes.heads,
        "max_positions": sizes.positions, "end_token_id": end,
        "text_encoder": {"num_layers": sizes.text_layers},
        "decoder": {"num_layers": sizes.decoder_layers},
        "vision": {"feature_size": sizes.vision_input, "hidden_size": sizes.vision_hidden},
        "fusion": {"num_layers": sizes.fusion_layers},
        "memory": {"num_slots": sizes.slots},
        "episode_without_vision": without_vision,
    }


def sizes_of_config(config: dict) -> Sizes:
    return Sizes(config["vocab_size"], config["hidden_size"], config["intermediate_size"], config["num_heads"], config["max_positions"],
                 config["text_encoder"]["num_layers"], config["decoder"]["num_layers"], config["vision"]["feature_size"],
                 config["vision"]["hidden_size"], config["fusion"]["num_layers"], config["memory"]["num_slots"])


def write_tokenizer(folder: Path, out: Path, vocabulary: int) -> None:
    try:
        count = copy_tokenizer(folder, out)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # JSON of something else, or none
        raise CheckpointError(f"the tokenizer of {folder} is damaged: {error}") from None
    if count != vocabulary:
        out.unlink()
        raise CheckpointError(f"the tokenizer of {folder} has {count} tokens, the checkpoint {vocabulary}")


def copy_tokenizer(folder: Path, out: Path) -> int:
    """As tokenizer.json; returns the number of tokens."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        convert_gpt2(folder, out)
    elif (folder / "tokenizer.json").is_file():
        shutil.copyfile(folder / "tokenizer.json", out)
    else:
        raise CheckpointError(f"{folder} has neither vocab.json with merges.txt nor tokenizer.json")
    return len(Tokenizer(out).tokens)


def convert(state: dict[str, torch.Tensor], tokenizer: Path, out: Path, sizes: Sizes = PUBLISHED,
            end: int = END, without_vision: str = "bias") -> int:
    """Writes the model directory; returns the bytes of model.safetensors."""
    check(state, sizes)
    if not 0 <= end < sizes.vocabulary:
        raise CheckpointError(f"there is no token {end} to end with: the vocabulary has {sizes.vocabulary}")
    weights = save(tensors_of(state, sizes))  # before anything is written
    out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(tokenizer, out / "tokenizer.json", sizes.vocabulary)
    (out / "model.safetensors").write_bytes(weights)  # save_file would keep it from all but its owner
    (out / "config.json").write_text(json.dumps(config_of(sizes, end, without_vision), indent=2) + "\n")
    return len(weights)


def read_directory(folder: Path, dtype: torch.dtype = torch.float32) -> Reference:
    """The reference's pass of what convert() wrote"""
    config = json.loads((folder / "config.json").read_text())
    sizes, file = sizes_of_config(config), load_file(folder / "model.safetensors")
    linears, tensors = {}, {}
    for name, entry in published(sizes).items():
        if entry.kind == "ternary":
            layer = name.removesuffix(".weight")
            linears[layer] = Linear(unpack(file[name], entry.shape[0]), file[f"{name}_scale"].reshape(()), file.get(f"{layer}.bias"))
        elif entry.kind == "float":
            tensors[name] = file[name].reshape(entry.shape)
    return Reference(Weights(linears, tensors), sizes, dtype, keep_vision_bias=config["episode_without_vision"] == "bias")


def parse_sizes(given: list[str]) -> Sizes:
    names, chosen = {field.name for field in dataclasses.fields(Sizes)}, {}
    for word in given:
        name, _, value = word.partition("=")
        if name not in names or not value.isdecimal():
            raise CheckpointError(f"--size wants NAME=NUMBER with one of {', '.join(sorted(names))}, not {word}")
        chosen[name] = int(value)
    try:
        return Sizes(**chosen)
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bitmar.compat.convert", description="Makes a model directory of a checkpoint of the authors'.")
    parser.add_argument("checkpoint", type=Path, help="pytorch_model.bin or a safetensors file")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a folder with GPT-2's vocab.json and merges.txt, or with a tokenizer.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", action="append", default=[], metavar="NAME=NUMBER", help="of a model that is not the published one, such as text_layers=2")
    parser.add_argument("--end-token", type=int, default=END, help="ends what is generated, and begins a text without a prefix")
    parser.add_argument("--without-vision", choices=WITHOUT_VISION, default="bias",
                        help="what a text alone adds to its episode: the bias of vision_to_episode (the modeling file) or nothing (the training code)")
    args = parser.parse_args(argv)
    try:
        size = convert(read_state(args.checkpoint), args.tokenizer, args.out, parse_sizes(args.size), args.end_token, args.without_vision)
    except (CheckpointError, OSError) as error:
        print(f"{parser.prog}: {printable(str(error))}", file=sys.stderr)
        return 1
    print(f"{args.out}: {size} bytes of weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
