"""Beam search as the engine's (src/runtime/beam_search.h), for models that the engine does not run: those being trained, and
float ones."""

from __future__ import annotations

from typing import Callable

import torch

from ..model import BitMar
from ..train.captioning import Seen


def beam_search(next_logits: Callable, eos: int, beams: int, steps: int, length_penalty=1.0, guidance=0.0, rerank_weight=0.0, agreements=None):
    """-> (tokens without EOS, score, closest call). Score = sum of log-probabilities / length^penalty, EOS counted, plus
    rerank_weight * agreement.

    next_logits: from the live hypotheses' tokens, and for each the place of the hypothesis that it goes on from among those asked
    for before, to logits [live, V]. agreements: from tokens to the agreement [V] of them and each token more with the bag-of-words prediction.

    Continuations are ordered by the sum of log-probabilities plus guidance * agreement; the end changes no agreement. Of the
    2 * beams best continuations, those ending within the best `beams` are finished and the best `beams` others live on. It stops
    when `beams` are finished and no live one scores above the worst of them."""
    def score(own, total, counted):
        return total / counted**length_penalty + rerank_weight * own

    live, parents, finished, gap = [([], 0.0, 0.0)], [0], [], 1.0  # tokens, sum of log-probabilities, agreement
    for _ in range(steps):
        totals = next_logits([tokens for tokens, _, _ in live], parents).double().log_softmax(-1)
        totals = totals + torch.tensor([total for _, total, _ in live], dtype=torch.double)[:, None]
        agreed = torch.zeros_like(totals)
        if agreements:
            agreed = torch.stack([agreements(tokens).double() for tokens, _, _ in live])
            agreed[:, eos] = torch.tensor([own for _, _, own in live], dtype=torch.double)
        worth, place = (totals + guidance * agreed).flatten().topk(2 * beams + 1)
        gap = min(gap, float((worth[:-1] - worth[1:]).min()))
        survivors, came_from = [], []
        for rank, (i, token) in enumerate(divmod(p, totals.shape[1]) for p in place[:-1].tolist()):
            (tokens, _, own), total = live[i], float(totals[i, token])
            if token == eos:
                if rank < beams:
                    finished.append((tokens, score(own, total, len(tokens) + 1)))
            elif len(survivors) < beams:
                survivors.append((tokens + [token], total, float(agreed[i, token]))), came_from.append(i)
        finished = sorted(finished, key=lambda f: -f[1])[:beams]
        live, parents = survivors, came_from
        if len(finished) == beams and max(score(own, total, len(k)) for k, total, own in live) <= finished[-1][1]:
            break
    else:
        finished += [(k, score(own, total, len(k))) for k, total, own in live]
    finished.sort(key=lambda f: -f[1])
    return *finished[0], min(gap, finished[0][1] - finished[1][1])


class Speaker:
    """next_logits of a beam search: the decoder with keys and values kept, for one conditioning."""

    def __init__(self, model: BitMar, conditioning: torch.Tensor, mask: torch.Tensor):
        self.model, self.conditioning, self.mask = model, conditioning, mask
        self.caches: list[dict] = [{} for _ in model.decoder.layers]

    def __call__(self, tokens: list[list[int]], parents: list[int]) -> torch.Tensor:
        for cache in self.caches:
            for kind in cache:
                rows = cache[kind]
                cache[kind] = rows[parents] if kind in ("k", "v") else rows[:1].expand(len(parents), -1, -1, -1)
        last = torch.tensor([row[-1:] or [self.model.config["bos_token_id"]] for row in tokens])
        sequence = self.conditioning.expand(len(tokens), -1, -1)
        return self.model.logits(last, sequence, self.mask, self.caches)[:, -1]


@torch.no_grad()
def beam_captions(model: BitMar, tokenizer, seen: Seen, beams: int, limit=24) -> list[str]:
    """Of the pictures seen, as the engine captions them by that many beams: guided by its bag-of-words head where it has one."""
    config, said = model.config, []
    for i in range(len(seen.features)):
        vision = seen.vision[i:i + 1]
        condition = model.condition(None, seen.fused[i:i + 1], seen.keep[i:i + 1], vision)
        settings = {}
        if model.bag_of_words:
            wanted = model.bag_of_words.wanted(model.bag_of_words_logits(model.bag_of_words.summary(seen.features[i:i + 1], vision)))[0]
            settings = {**config["bag_of_words"], "agreements": lambda tokens: model.bag_of_words.agreements(wanted, tokens)}
        said.append(tokenizer.decode(beam_search(Speaker(model, *condition), config["eos_token_id"], beams, limit, **settings)[0]).strip())
    return said
