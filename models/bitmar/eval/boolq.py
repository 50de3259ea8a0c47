"""What a model of language learns of yes-or-no questions when it is trained on them: BoolQ by k folds of its 3,270 development questions.

usage: python -m bitmar.eval.boolq --model models/text --data boolq_dev.jsonl [--folds 5] [--epochs 2] [--compiled]

Of each fold the model begins as it is, learns the questions of the others (which answer follows, " no" or " yes", by all its weights) and answers
this fold's. Prints the accuracy of all questions, with Wilson's interval at 95 %, beside the answer that is right most often. Published
figures are of models trained on BoolQ's 9,427 training questions; with five folds each model here learns 2,616.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from ..data.dataset import pad
from ..data.tokenizer import Tokenizer
from ..model import packed
from ..model.bitmar import BitMar
from ..model.export import read_checkpoint
from ..model.quant import Precision, fast_products, int8_logits, set_precision
from ..train.text import learned, states_of

ANSWERS = (" no", " yes")


@dataclass(frozen=True)
class Question:
    tokens: list[int]  # BOS first
    answer: int  # of ANSWERS


def questions_of(file: Path, tokenizer: Tokenizer, begin: int, most: int) -> list[Question]:
    """As bench/language asks them; of a longer one the last tokens"""
    out = []
    for row in map(json.loads, file.read_text().splitlines()):
        answer = ANSWERS.index(f" {row['choices'][row['answer']].strip()}")
        text = f"{row['context']}\nQuestion: {row['question']}?\nAnswer:"
        out.append(Question([begin, *tokenizer.encode(text)[1 - most:]], answer))
    return out


def folded(count: int, folds: int) -> list[list[int]]:
    """Numbers of the questions of each fold"""
    numbers = list(range(count))
    random.Random(0).shuffle(numbers)
    return [numbers[i::folds] for i in range(folds)]


def batches(questions: list[Question], size: int, shuffled: random.Random | None = None) -> list[list[Question]]:
    """Of like lengths; in any order if that is to be shuffled"""
    ordered = sorted(questions, key=lambda q: len(q.tokens) + (shuffled.random() * 16 if shuffled else 0))
    out = [ordered[i:i + size] for i in range(0, len(ordered), size)]
    if shuffled:
        shuffled.shuffle(out)
    return out


def logits_of(model: BitMar, batch: list[Question], answers: list[int]) -> torch.Tensor:
    """[B, 2] of the tokens of ANSWERS after each question"""
    tokens = pad([q.tokens for q in batch], model.config["pad_token_id"])
    last = torch.tensor([len(q.tokens) - 1 for q in batch])
    states = states_of(model, tokens).unflatten(0, tokens.shape)[torch.arange(len(batch)), last]
    return int8_logits(model.decoder.norm(states), model.embedding.weight, model.precision)[:, answers]


def learn(model: BitMar, questions: list[Question], answers: list[int], epochs: int, rate: float) -> None:
    parameters = learned(model)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    drawn = random.Random(1)
    steps = [batch for _ in range(epochs) for batch in batches(questions, 32, drawn)]
    for i, batch in enumerate(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (i + 1) / 20) * (1 - i / len(steps))
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits_of(model, batch, answers), torch.tensor([q.answer for q in batch])).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


@torch.no_grad()
def right(model: BitMar, questions: list[Question], answers: list[int]) -> int:
    return sum(int((logits_of(model, batch, answers).argmax(-1) == torch.tensor([q.answer for q in batch])).sum()) for batch in batches(questions, 32))


def wilson(share: float, n: int, z=1.96) -> tuple[float, float]:
    """Wilson's interval of a share of n (Newcombe 1998, method 3)"""
    middle, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)


def main() -> None:
    parser = argparse.ArgumentParser("python -m bitmar.eval.boolq", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--length", type=int, default=160, help="tokens of a question with its text, the last ones")
    parser.add_argument("--limit", type=int, help="the first so many questions alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compiled", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    packed.compiling(args.compiled)
    checkpoint, tokenizer = read_checkpoint(args.model), Tokenizer(args.model / "tokenizer.json")
    answers = [tokenizer.encode(answer) for answer in ANSWERS]
    if any(len(tokens) != 1 for tokens in answers):
        raise SystemExit(f"{ANSWERS} are no single tokens of this model")
    questions = questions_of(args.data, tokenizer, checkpoint["config"]["bos_token_id"], args.length)[:args.limit]
    count = before = 0
    for number, fold in enumerate(folded(len(questions), args.folds), 1):
        torch.manual_seed(number)
        model = set_precision(BitMar(checkpoint["config"]), Precision(fast_products("cpu")))
        model.load_state_dict(checkpoint["model"])
        held, tokens = [questions[i] for i in fold], [each[0] for each in answers]
        before += right(model, held, tokens)
        learn(model, [questions[i] for i in sorted(set(range(len(questions))) - set(fold))], tokens, args.epochs, args.rate)
        found = right(model, held, tokens)
        count += found
        print(f"fold {number}: {found} of {len(held)}", flush=True)
    yes = sum(q.answer for q in questions)
    share, n = count / len(questions), len(questions)
    low, high = wilson(share, n)
    print(json.dumps({"questions": n, "before": round(before / n, 4), "right": round(share, 4), "interval": [round(low, 4), round(high, 4)],
                      "majority": round(max(yes, n - yes) / n, 4)}))


if __name__ == "__main__":
    main()
