"""The stage that learns language from plain text (data/corpus.py): windows of a stream of documents, next token by next token.

A window begins where a line begins, with BOS before it, as the engine reads a text that is given to it. No window sees a picture or an
episode: the decoder is conditioned by what the text encoder makes of BOS alone.

Matrices of the decoder learn by Muon (muon.py) where PyTorch has it.
"""

from __future__ import annotations

import hashlib
import math
import os

import numpy as np
import torch

from ..data import corpus
from ..data.tokenizer import Tokenizer
from ..model import packed
from ..model.bitmar import BitMar
from ..model.export import load_as_trained
from .muon import muon
from .settings import Run, Text
from .trainer import Trainer


class Windows:
    """Windows [length] of one part of a corpus."""

    def __init__(self, run: Run, part: str, config: dict, dropout: float = 0.0):
        self.file, self.begin = run.data / f"{part}.txt", config["bos_token_id"]
        tokenizer, cache = run.checkpoint("tokenizer", "json"), run.work / f"{part}.npz"
        if run.processes.first:
            made_of = hashlib.sha256(self.file.read_bytes() + tokenizer.read_bytes() + (str(dropout).encode() if dropout else b"")).hexdigest()
            if not cache.exists() or str(np.load(cache)["made_of"]) != made_of:
                tokens, lines = corpus.tokens_of(self.file, tokenizer, self.begin, config["eos_token_id"], dropout or None)
                np.savez(cache.with_suffix(".tmp.npz"), tokens=tokens, lines=lines, made_of=made_of)
                os.replace(cache.with_suffix(".tmp.npz"), cache)
        run.processes.wait()
        stored = np.load(cache)
        self.tokens, self.lines = stored["tokens"], stored["lines"]
        self.tokens_per_byte = float((self.tokens != self.begin).sum()) / self.file.stat().st_size

    def starts(self, length: int, epoch: int) -> np.ndarray:
        """Starts of the epoch's windows, shuffled. A grid is shifted by a random offset for each epoch; a window begins at the first line in its cell,
        or at the grid's own place if no line begins there."""
        drawn = np.random.default_rng(epoch)
        grid = np.arange(drawn.integers(length), len(self.tokens) - length, length)
        lines = np.append(self.lines, len(self.tokens))  # after the last: no line
        after = lines[np.searchsorted(lines, grid)]
        starts = np.where(after < grid + length, after, grid)
        return drawn.permutation(starts[starts + length <= len(self.tokens)])

    def check(self, *lengths: int) -> None:
        """Ends the run if an epoch might have no window."""
        for length in lengths:
            if len(self.tokens) < 3 * length:
                raise SystemExit(f"{self.file} has {len(self.tokens)} tokens, too few for windows of {length}")

    def at(self, starts: np.ndarray, length: int) -> torch.Tensor:
        """[B, length + 1], BOS first"""
        own = self.tokens[starts[:, None] + np.arange(length)]
        return torch.from_numpy(np.pad(own.astype(np.int64), ((0, 0), (1, 0)), constant_values=self.begin))


def states_of(model: BitMar, tokens: torch.Tensor) -> torch.Tensor:
    """The decoder's states [B n, d] before its last norm, of tokens [B, n], BOS first"""
    given = packed.Part(tokens.contiguous(), -1)
    begin = torch.full((1, 1), model.config["bos_token_id"], device=tokens.device)
    prompt, keep = model.encode_text(begin)
    seen = model.fuse(prompt, keep)[0][0]  # [1, d]
    rows = torch.zeros(len(tokens), 1, dtype=torch.long, device=tokens.device)
    mask = torch.zeros(len(tokens), 1, 1, 1, device=tokens.device)
    x = packed.Rows.apply(packed.table_of(model), packed.laid_out([given]))
    return packed.decode(model.decoder, x, [given], [(rows, mask)], seen)


def surprises(model: BitMar, tokens: torch.Tensor, tutor: BitMar | None = None, share=0.0) -> torch.Tensor:
    """Cross entropy [B n] of tokens [B, 1 + n], BOS first, each after those before it. With a tutor, a share of each label is what the tutor expects
    there."""
    states, targets = states_of(model, tokens[:, :-1]), tokens[:, 1:].flatten()
    if tutor is None:
        return packed.surprises(model, states, targets, torch.zeros(states.shape[0], device=tokens.device))
    with torch.no_grad():
        taught = packed.probabilities(tutor, states_of(tutor, tokens[:, :-1]))
    return packed.surprises(model, states, targets, taught=taught, share=share)


def of_document(windows: Windows, targets: torch.Tensor) -> torch.Tensor:
    """Which targets count: all but BOS, which always follows EOS"""
    return targets.flatten() != windows.begin


def learned(model: BitMar) -> list[torch.nn.Parameter]:
    return [*model.decoder.parameters(), *model.embedding.parameters(), *model.text_encoder.parameters(), *model.fusion.parameters()]


@torch.no_grad()
def evaluated(model: BitMar, windows: Windows, settings: Text, most: int = 64) -> dict[str, float]:
    """Cross entropy of validation windows, nats per token; as bits per byte of the text it can be compared between tokenizers. Nothing where there
    is no window"""
    starts = windows.starts(settings.length, 0)[:most]
    total, count = 0.0, 0
    for i in range(0, len(starts), 16):
        tokens = windows.at(starts[i:i + 16], settings.length).to(next(model.parameters()).device)
        counts = of_document(windows, tokens[:, 1:])
        total += float(surprises(model, tokens)[counts].sum())
        count += int(counts.sum())
    if not count:
        return {}
    return {"val_lm": round(total / count, 4), "val_perplexity": round(math.exp(total / count), 2),
            "val_bits_per_byte": round(total / count / math.log(2) * windows.tokens_per_byte, 4)}


def tutor_of(settings: Text, run: Run, vocabulary: Tokenizer) -> BitMar:
    """It has to know the same tokens."""
    path = run.checkpoint(settings.tutor)
    tutor = load_as_trained(path, run.products, run.device).requires_grad_(False)
    file = (path if path.is_dir() else path.parent) / "tokenizer.json"
    if tutor.config["vocab_size"] != len(vocabulary.tokens) or file.exists() and Tokenizer(file).ids != vocabulary.ids:
        raise SystemExit(f"{settings.name}: the tutor {path} has another vocabulary")
    return tutor


def text(settings: Text, run: Run, model: BitMar, tokenizer: Tokenizer) -> None:
    """One batch a step, of so many tokens; the last part of the stage by longer windows, for what is far apart."""
    if not 0 <= settings.bpe_dropout < 1:
        raise SystemExit(f"{settings.name}: bpe_dropout = {settings.bpe_dropout} is no share of merges")
    train, held = Windows(run, "train", model.config, settings.bpe_dropout), Windows(run, "validation", model.config)
    train.check(settings.length, settings.long_length)
    if not 0 <= settings.tutor_share <= 1:
        raise SystemExit(f"{settings.name}: tutor_share = {settings.tutor_share} is no share of a label")
    tutor = tutor_of(settings, run, tokenizer) if settings.tutor else None
    trainer = Trainer(settings, run, model, learned(model), settings.decay, muon([model.decoder], learned(model), settings.rate, settings.decay) if settings.orthogonal else None)
    processes, at = run.processes, {}
    while trainer.running():
        long = trainer.progress() >= 1 - settings.long_share
        length = settings.long_length if long else settings.length
        each = max(1, settings.batch // length)
        # What a step reads depends on its number, and on when the long windows begin. An epoch ends after 0.9 of the grid's windows.
        epoch, place = divmod(trainer.step * each, max(each, int(0.9 * len(train.tokens)) // length))
        if (length, epoch) not in at:
            at = {(length, epoch): train.starts(length, epoch)}
        starts = at[length, epoch]
        rows = starts[np.arange(place, place + each) % len(starts)]
        own = rows[processes.part(len(rows))]
        counted = int(of_document(train, train.at(rows, length)[:, 1:]).sum())  # of all processes
        trainer.optimizer.zero_grad(set_to_none=True)
        losses = [torch.zeros((), device=run.device)]
        # So many windows at once as fit the processor's caches
        for i in range(0, len(own), max(1, settings.at_once // length)):
            tokens = train.at(own[i:i + max(1, settings.at_once // length)], length).to(run.device)
            counts = of_document(train, tokens[:, 1:])
            loss = surprises(model, tokens, tutor, settings.tutor_share)[counts].sum() * processes.count / max(1, counted)  # gradients are averaged over processes
            loss.backward()
            losses.append(loss.detach())
        trainer.advance({"lm": torch.stack(losses).sum()})
        if settings.evaluate_every and trainer.step % settings.evaluate_every == 0 and processes.first:
            trainer.log(evaluated(trainer.average, held, settings))
    if settings.evaluate_every and trainer.step > trainer.began and processes.first:
        trainer.log(evaluated(trainer.average, held, settings, 1 << 30))
