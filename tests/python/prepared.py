"""What several tests need: made-up photos in a source folder, a prepared data set of them, and a tiny model that answers questions."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from bitmar.data import prepare
from bitmar.data.texts import ADDED, ASK
from bitmar.data.tokenizer import Tokenizer, extend
from bitmar.model import BitMar
from bitmar.train.settings import Run
from PIL import Image

MODELS = Path(__file__).parents[2] / "models"
TINY = Path(__file__).parents[1] / "golden/tiny"


def run(module, *arguments) -> str:
    """A module's command line; what it printed."""
    printed = io.StringIO()
    with mock.patch.object(sys, "argv", ["program", *map(str, arguments)]), contextlib.redirect_stdout(printed):
        module.main()
    return printed.getvalue()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def together(processes: int, module: str, *arguments) -> list[str]:
    """A module's command line in several processes, as torchrun starts them; what each printed."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)} if processes > 1 else {}
    started = [subprocess.Popen([sys.executable, "-m", module, *map(str, arguments)],
                                env={**os.environ, "PYTHONPATH": str(MODELS), **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for rank in range(processes)]
    printed = [process.communicate(timeout=600)[0] for process in started]
    if any(process.returncode for process in started):
        raise AssertionError("\n".join(printed))
    return printed


def noise(seed: int, width=48, height=40) -> Image.Image:
    """A picture unlike that of any other seed, smooth enough for a JPEG to look like it"""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (10, 12, 3), np.uint8)).resize((width, height), Image.BICUBIC)


def encoded(picture: Image.Image, form="png") -> bytes:
    data = io.BytesIO()
    picture.save(data, form)
    return data.getvalue()


def write_tar(path: Path, photos: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in photos.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def source(folder: Path, rows: list[dict], pictures: dict[str, bytes] | None = None, loose=False) -> Path:
    """A folder with photos.jsonl; a photo that has no picture in `pictures` is noise of its place's seed."""
    folder.mkdir(parents=True)
    (folder / "photos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    photos = {row["image"]: (pictures or {}).get(row["image"]) or encoded(noise(i)) for i, row in enumerate(rows)}
    if loose:
        for name, data in photos.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
    else:
        write_tar(folder / "images.tar", photos)
    return folder


def prepared(*arguments) -> list[dict]:
    """bitmar.prepare with these arguments, the last one the folder that it fills; the rows of its photos.jsonl."""
    *sources, out = arguments
    run(prepare, *sources, "--out", out)
    return read_rows(out / "photos.jsonl")


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(data: Path, train: list[dict], val: list[dict]) -> None:
    """A prepared data set whose photos nobody opens, in the form of bitmar.prepare."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "photos.jsonl").open("w") as out:
        for split, rows in (("train", train), ("val", val)):
            for i, row in enumerate(rows):
                out.write(json.dumps({"id": f"made/{split}{i}", "set": "made", "image": f"{split}{i}", "split": split, "captions": [], "labels": [],
                                      "questions": [], "near": i, "file": "", "offset": 0, "bytes": 0, **row}) + "\n")


def tiny_tokenizer(folder: Path) -> Tokenizer:
    """The golden model's with the special tokens of texts.py, as FOLDER/tokenizer.json"""
    extend(TINY / "tokenizer.json", folder / "tokenizer.json", ADDED)
    return Tokenizer(folder / "tokenizer.json")


def asking(config: dict, tokenizer: Tokenizer) -> dict:
    """A configuration with room for the tokenizer's tokens, that answers questions."""
    return config | {"vocab_size": len(tokenizer.tokens), "ask": {"token_id": tokenizer.special[ASK], "max_tokens": 4}}


def small_config(tokenizer: Tokenizer) -> dict:
    """Of a model of the default's kind, with its grid, that is small enough to train for a step"""
    config = asking(json.loads((TINY / "config.json").read_text()), tokenizer)
    conv = lambda channels, kernel=3, stride=1, weights="ternary": {
        "type": "conv", "out_channels": channels, "kernel_size": kernel, "stride": stride, "weights": weights, "activation": "relu"}
    pool = {"type": "max_pool", "kernel_size": 3, "stride": 2}
    config["vision"] |= {"image_size": 64, "grid_size": 8, "feature_size": 16, "hidden_size": 24, "num_layers": 1, "stem": [
        conv(8, stride=2, weights="int8"), conv(8), conv(8), pool, conv(8, 1), conv(24), pool,
        {"type": "residual", "kernel_size": 3}]}
    return config


def run_in(folder, **more) -> Run:
    """On a CPU, exactly, with data and work in one folder"""
    return Run(Path(folder), Path(folder), {}, **more)


def tiny_model(seed=0, tokenizer: Tokenizer | None = None) -> BitMar:
    """The golden model's shapes with weights of chance; one that answers questions where a tokenizer is given"""
    config = json.loads((TINY / "config.json").read_text())
    torch.manual_seed(seed)
    return BitMar(asking(config, tokenizer) if tokenizer else config)
