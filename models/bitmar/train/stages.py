"""What does the stages of a recipe (recipe.py): one function a kind."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Callable

import torch

from ..data import prepare, shapes, tokenizer, views
from ..data.texts import ASK
from ..eval import evaluate
from ..model import export
from ..model.bitmar import FIRST_LAYERS, BitMar, load_config
from ..model.quant import round_weights, set_bits, set_precision
from . import captioning, first_convolutions, mix, recipe, see, tell, text
from .bag_of_words import bag_of_words
from .encoder import encoder
from .recall import recall
from .settings import CAPTIONER, Encoder, Evaluate, Export, FirstConvolutions, Learning, Mix, Pack, Photos, Run, See, Stage, Tell, Tokens
from .trainer import seed

LEARN: dict[str, Callable] = {"language": captioning.language, "text": text.text, "encoder": encoder, "caption": captioning.caption, "joint": captioning.caption,
                              "self_critical": captioning.self_critical, "recall": recall, "bag_of_words": bag_of_words}
TOGETHER = ("language", "text", "encoder", "caption", "joint", "self_critical")  # done by all processes; the others are short, and done by the first


def with_new_tokens(state: dict, vocabulary: int) -> dict:
    """The state of a model whose vocabulary is shorter: tokens at its end begin as the mean of the others, expected of no picture."""
    for name, fill in (("embedding.weight", None), ("bag_of_words.bias", -12.0), ("bag_of_words.rarity", 0.0)):
        value = state.get(name)
        if value is not None and len(value) < vocabulary:
            more = value.mean(0, keepdim=True) if fill is None else value.new_full((1,), fill)
            state[name] = torch.cat([value, more.expand(vocabulary - len(value), *value.shape[1:])])
    return state


def with_tokens_of(state: dict, before: tokenizer.Tokenizer, after: tokenizer.Tokenizer) -> dict:
    """The state of a model of the vocabulary `before`, for the vocabulary `after`: a token of both keeps its row of the embedding. Any other
    begins as the mean of the rows that it was written with, a special token as the mean of all."""
    rows, known = state["embedding.weight"], before.ids

    def row(token: str) -> torch.Tensor:
        if token in known:
            return rows[known[token]]
        # The letters of a token are bytes, as in the pieces that a text is cut into.
        return (rows if token in after.special else rows[list(before.merge(token))]).mean(0)

    return {**state, "embedding.weight": torch.stack([row(token) for token in sorted(after.ids, key=after.ids.get)])}


def tokenizer_of(run: Run) -> tokenizer.Tokenizer:
    return tokenizer.Tokenizer(run.checkpoint("tokenizer", "json"))


def model_of(settings: Learning, run: Run, vocabulary: tokenizer.Tokenizer) -> BitMar:
    """The model that a stage begins with."""
    config = load_config(settings.config) if settings.config else run.config
    own = {"vocab_size": len(vocabulary.tokens)}
    if "ask" in config:
        if ASK not in vocabulary.special:
            raise SystemExit(f"{settings.name}: the vocabulary has no token {ASK}, which the configuration's section ask needs; ask = false leaves it out")
        own["ask"] = {"token_id": vocabulary.special[ASK]}
    config = recipe.merged(config, own)
    if settings.components:
        config["vision"] = {**config["vision"], "feature_size": settings.components}
    if settings.bits and not settings.ternary:
        raise SystemExit(f"{settings.name}: bits are of a model that is not in float")
    model = set_bits(set_precision(BitMar(config), run.precision(settings.ternary)), settings.bits)
    if isinstance(settings, Encoder) and settings.first_convolutions:
        first = torch.load(run.checkpoint(settings.first_convolutions))["stem"]
        model.vision.stem[:FIRST_LAYERS].load_state_dict(first)
        round_weights(model.vision.stem[:FIRST_LAYERS], only_other_bits=True)
    for names, source in settings.start.items():
        path = run.checkpoint(source)
        parts = [part for name in names.split(",") for part in (CAPTIONER if name == "captioner" else (name,))]
        unknown = set(parts) - {name for name, _ in model.named_children()}
        if unknown:
            raise SystemExit(f"{settings.name}: start names {', '.join(sorted(unknown))}, which the model has not")
        checkpoint = captioning.read_weights(path, ternary=settings.ternary)
        state = checkpoint["model"]
        file = (path if path.is_dir() else path.parent) / "tokenizer.json"
        before = tokenizer.Tokenizer(file) if file.exists() else vocabulary
        if not before.ids.items() <= vocabulary.ids.items():  # another vocabulary, not the same with more tokens
            if "bag_of_words" in parts:
                raise SystemExit(f"{settings.name}: {path} has another vocabulary, and its bag-of-words head knows no other")
            state = with_tokens_of(state, before, vocabulary)
        state = with_new_tokens(state, config["vocab_size"])
        missing = model.load_state_dict({k: v for k, v in state.items() if k.split(".")[0] in parts}, strict=False)
        if missing.unexpected_keys:
            raise SystemExit(f"{path}: unexpected {missing.unexpected_keys[:3]}")
        if checkpoint.get("ternary", True):  # where weights are not to be ternary, they begin as the numbers that the ternary ones stand for
            for name in set(parts):
                round_weights(getattr(model, name), only_other_bits=True)
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
        if settings.endings:
            raise SystemExit(f"{settings.name}: endings is for a tokenizer that is learned, and extend for one that is not")
        tokenizer.extend(run.checkpoint(settings.extend) / "tokenizer.json", out)
        return
    if (run.data / "corpus.json").exists():  # plain text (corpus.py): nothing is asked in it
        lines, markers = (run.data / "train.txt").read_text(encoding="utf-8").splitlines(), ()
    else:
        lines, markers = tokenizer.lines_of([run.data, *([run.data / "text.txt"] if settings.text else [])]), tokenizer.ADDED
    tokenizer.write(out, *tokenizer.train(lines, settings.size, settings.endings), markers)


def pack(settings: Pack, run: Run) -> None:
    shared = {"data": run.data, "out": run.work / settings.name, "teacher": settings.teacher, "cache": run.cache, "size": settings.size,
              "teacher_weights": settings.teacher_weights, "like": run.checkpoint(settings.like) if settings.like else None,
              "grids_of": run.work / settings.grids_of if settings.grids_of else None, "device": run.device}
    packing = views.Packing(**shared, views=settings.views, mixed=settings.mixed)
    count = settings.processes if run.device.startswith("cuda") else 1
    if count == 1:
        views.pack(packing)
        return
    views.pack(dataclasses.replace(packing, views=1, mixed=0))  # finds the projection
    shards = [subprocess.Popen([sys.executable, "-m", "bitmar.data.views", *packing.arguments(), "--shard", f"{i}/{count}"]) for i in range(count)]
    if any([shard.wait() for shard in shards]):
        raise SystemExit("a process that packs views failed; see above")


def imitating(settings: FirstConvolutions, run: Run) -> None:
    first_convolutions.learn(run.work / settings.views, run.work / f"{settings.name}.pt", run.cache, run.config, settings.steps)


def telling(settings: Tell, run: Run) -> None:
    tell.tell(run.data, run.work / settings.views, tokenizer_of(run), run.checkpoint(settings.checkpoint), run.work / f"{settings.name}.jsonl", run.products_on_cpu)


def seeing(settings: See, run: Run) -> None:
    see.see(run.checkpoint(settings.checkpoint), run.work / settings.views, run.work / settings.name, settings.views_each, products=run.products_on_cpu, mirrored=settings.mirrored)


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


MAKE: dict[str, Callable] = {"photos": photos, "tokenizer": tokens, "views": pack, "first_convolutions": imitating, "tell": telling, "see": seeing,
                             "mix": mixing, "export": exporting, "evaluate": evaluating}


def do(kind: str, settings: Stage, run: Run) -> None:
    """One stage of a recipe."""
    if kind in LEARN:
        learn(kind, settings, run)
    else:
        MAKE[kind](settings, run)
