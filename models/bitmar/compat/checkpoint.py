"""Checkpoints of the authors' from files: a damaged or hostile one ends in a CheckpointError, and no code in it runs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file

UNDER = ("model_state_dict", "state_dict", "model")  # keys under which trainers keep the state_dict
PREFIXES = ("module.", "_orig_mod.", "model.")  # of wrappers: parallel training, torch.compile, a trainer's own module
MOST_SHOWN = 100  # characters of a tensor's name


class CheckpointError(Exception):
    pass


def shown(name: object) -> str:
    """A name as a message may quote it"""
    text = str(name)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def printable(message: str) -> str:
    """Without what a terminal obeys: a checkpoint's names are not ours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def kind_of(path: Path) -> str | None:
    """"safetensors", "torch.save" or None, by the first bytes: names of files say little."""
    with path.open("rb") as file:
        first = file.read(9)
    header = int.from_bytes(first[:8], "little")
    if first[8:] == b"{" and 8 + header <= path.stat().st_size:
        return "safetensors"
    # A zip, or a pickle as PyTorch wrote it before 1.6
    return "torch.save" if first.startswith((b"PK\x03\x04", b"\x80")) else None


def foreign_class(error: Exception) -> str | None:
    """The class or function that torch's loader refused, if that was why"""
    # In the words of PyTorch 2, and of 1.13
    ways = (r"GLOBAL ([\w.]+)", r"class '([\w.]+)'", r"Unsupported class (?:__builtin__\.)?([\w.]+)")
    found = next(filter(None, (re.search(way, str(error), re.ASCII) for way in ways)), None)
    return found and shown(found[1])


def load(path: Path) -> object:
    try:
        kind = kind_of(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if kind is None:
        raise CheckpointError(f"{path} is neither a torch.save file nor a safetensors file")
    try:
        with warnings.catch_warnings(action="ignore"):
            if kind == "safetensors":
                return load_file(path)
            with path.open("rb") as file:  # of a path, torch.load would look at the suffix
                return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that was changed makes the loaders throw whatever there is
        # torch's own words are advice to run the file's code.
        if name := foreign_class(error):
            raise CheckpointError(f"{path} holds an object of another kind, {name}: only tensors and plain values are read, "
                                  "since all else could run code") from None
        raise CheckpointError(f"{path} begins like a {kind} file, but cannot be read as one: it is damaged, incomplete or something else") from None


def without_prefixes(state: dict) -> dict:
    """Without what all names begin with, if that is a wrapper's"""
    while state:
        prefix = next((p for p in PREFIXES if all(isinstance(name, str) and name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors by name; a damaged state_dict may have other keys and values, which check() refuses."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    state = load(path)
    if isinstance(state, dict):
        state = next((state[key] for key in UNDER if isinstance(state.get(key), dict)), state)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, no state_dict")
    return without_prefixes(state)
