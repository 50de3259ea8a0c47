"""Scores of made-up captions by pycocoevalcap 1.2, which test_metrics.py holds bitmar.eval.metrics against. No test runs this.

usage: pip install pycocoevalcap==1.2 && python tests/python/pycocoevalcap_scores.py > tests/python/pycocoevalcap_scores.json

Its own tokeniser needs Java and is not used: texts are split as bitmar.eval.metrics.words does. The cases: captions that repeat a reference, share
words with several, say one word again and again, are much too long, are one word, or have nothing in common with any.
"""

import json
import random
import re

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

WHO = ["a dog", "two dogs", "a man in a red shirt", "the girl", "a boy and a girl", "an old woman's cat", "3 people"]
WHAT = ["runs", "is sitting", "jumps over a log", "plays with a ball", "stand together", "looks at the camera"]
WHERE = ["on the grass", "in the snow", "at the beach", "near a T-shirt shop", "under a tree", "beside the water", ""]


def main() -> None:
    rng = random.Random(0)
    sentence = lambda: " ".join(rng.choice(part) for part in (WHO, WHAT, WHERE)).strip().capitalize() + rng.choice(["", ".", " ."])
    references = [[sentence() for _ in range(5)] for _ in range(20)]
    captions = [sentence() for _ in references]
    captions[0] = references[0][0]
    captions[1] = references[1][0] + " " + references[1][1]
    captions[2] = "dog dog dog dog dog dog"
    captions[3] = "a"
    captions[4] = "zebras graze quietly"
    captions[5] = " ".join(references[5])
    split = lambda text: " ".join(re.findall(r"[a-z0-9']+", text.lower()))
    said = {i: [split(c)] for i, c in enumerate(captions)}
    wanted = {i: [split(r) for r in rows] for i, rows in enumerate(references)}
    cider, each = Cider().compute_score(wanted, said)
    bleu = Bleu(4).compute_score(wanted, said, verbose=0)[0]
    rouge = Rouge().compute_score(wanted, said)[0]
    print(json.dumps({"captions": captions, "references": references, "cider": float(cider), "cider_each": [float(v) for v in each],
                      "bleu": [float(v) for v in bleu], "rouge_l": float(rouge)}, indent=1))


if __name__ == "__main__":
    main()
