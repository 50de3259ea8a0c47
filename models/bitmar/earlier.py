"""Names in models, checkpoints and recipes of before, and what they are called now."""

from __future__ import annotations

import re

SECTIONS = {"words": "bag_of_words"}  # of a model's configuration
FIELDS = {"bag_of_words": {"choice": "rerank_weight"}, "confidence": {"words": "agreement"}}  # of these sections
KINDS = {"words": "bag_of_words", "critic": "self_critical", "stem": "first_convolutions"}  # of stages
SETTINGS = {"encoder": {"stem": "first_convolutions"}}  # of stages of these kinds


def renamed(table: dict, names: dict[str, str]) -> dict:
    return {names.get(key, key): value for key, value in table.items()}


def config(given: dict) -> dict:
    """Of a model, or what a recipe changes in it"""
    return {name: renamed(section, FIELDS[name]) if name in FIELDS and isinstance(section, dict) else section for name, section in renamed(given, SECTIONS).items()}


def state(given: dict) -> dict:
    """A model's weights by name"""
    return {re.sub(r"^words\.", "bag_of_words.", name): value for name, value in given.items()}


def checkpoint(given: dict) -> dict:
    """The content of a .pt file"""
    parts = {"config": config, "model": state, "latent": state}
    return {key: parts[key](value) if key in parts else value for key, value in given.items()}


def stage(table: dict) -> dict:
    """Of a recipe, or the record of one that is done"""
    kind = KINDS.get(str(table.get("do")), table.get("do"))
    out = renamed({**table, "do": kind}, SETTINGS.get(str(kind), {}))
    if isinstance(out.get("start"), dict):
        out["start"] = {re.sub(r"\bwords\b", "bag_of_words", parts): source for parts, source in out["start"].items()}
    return out


def stages(tables: list[dict]) -> list[dict]:
    """Of a recipe. Each keeps the name that it had from its kind, since others name it by that; `export` did so without saying it."""
    head = any(table.get("name", table.get("do")) == "words" for table in tables)
    return [{"name": table.get("do"), **({"checkpoint": "words"} if head and table.get("do") == "export" else {}), **stage(table)} for table in tables]
