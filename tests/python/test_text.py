"""Language from plain text: the corpus, its windows, their loss by both ways to compute it, and the stage from a text to an exported model."""

import json
import tempfile
import unittest
from collections import Counter
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from bitmar.data import corpus, merges, tokenizer
from bitmar.data.morphemes import Endings
from bitmar.data.texts import ADDED
from bitmar.data.tokenizer import Tokenizer
from bitmar.model import packed
from bitmar.model.bitmar import BitMar
from bitmar.eval import pairs
from bitmar.model.export import export_checkpoint, import_model, load_as_trained, read_checkpoint
from bitmar.model.quant import Precision, set_bits, set_precision
from bitmar.train import __main__ as train
from bitmar.train import recipe, stages, text
from bitmar.train.settings import Run, Text, Tokens
from prepared import run, together

MODELS = Path(__file__).parents[2] / "models"
ANIMALS = "the dog,the cat,a horse,an old goat,the sheep".split(",")
SENTENCES = [f"{one} sees {other}.\nthen {other} runs away from {one}, {n} times." for one in ANIMALS for other in ANIMALS for n in ("two", "three", "ten")]

RECIPE = '''
[config]
hidden_size = 32
ask = false
bag_of_words = false
[config.vision]
input = "features"
grid_size = 1
feature_size = 4
[config.compressor]
pool_size = 1
hidden_size = 4
[config.text_encoder]
num_layers = 0
num_heads = 2
intermediate_size = 4
[config.fusion]
num_layers = 0
num_heads = 2
[config.memory]
num_slots = 1
width = 4
[config.decoder]
num_layers = 2
num_heads = 2
intermediate_size = 64
[[stage]]
do = "tokenizer"
size = 300
[[stage]]
do = "text"
steps = 60
rate = 1e-2
batch = 256
at_once = 128
length = 16
long_length = 32
long_share = 0.2
evaluate_every = 30
[[stage]]
do = "export"
name = "model"
checkpoint = "text"
'''


class Corpora(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "stories.txt").write_text("\n\n".join([*SENTENCES, "Title: The Long One\nIt is  long.\n", SENTENCES[0].upper()]) + "\n\n\n")
        (self.folder / "cap_photos.txt").write_text("\ufeffa dog runs\na dog  runs \n\na cat sits\nit says <eos> and <bos>\n")
        self.data = self.folder / "data"
        self.about = corpus.gather([self.folder / "stories.txt", self.folder / "cap_photos.txt"], ["The Long One"], self.data)

    def config(self, vocabulary: int) -> dict:
        """Of the recipe's model, with so many tokens"""
        (self.folder / "small.toml").write_text(RECIPE)
        return recipe.merged(recipe.load(str(self.folder / "small.toml")).config, {"vocab_size": vocabulary})


class Corpus(Corpora):
    def read(self, name):
        return [document for document in (self.data / f"{name}.txt").read_text().rstrip("\n").split("\n\n") if document]

    def test_each_document_is_in_one_part_and_once(self):
        train, validation, held = map(self.read, ("train", "validation", "The Long One"))
        self.assertEqual(held, ["Title: The Long One\nIt is long."])
        self.assertEqual(sorted(train + validation), sorted([*SENTENCES, "a dog runs", "a cat sits", "it says <eos> and <bos>"]))
        self.assertEqual(self.about["documents"], {"train": len(train), "validation": len(validation), "The Long One": 1})
        self.assertEqual(validation, [d for d in [*SENTENCES, "a dog runs", "a cat sits", "it says <eos> and <bos>"] if int(corpus.key(d)[:8], 16) % corpus.HELD == 0])

    def test_names_of_files_are_checked(self):
        for title in ("", "train", "validation", "../x", "a/b"):
            with self.assertRaisesRegex(SystemExit, "cannot be the name of a file"):
                corpus.gather([self.folder / "stories.txt"], [title], self.folder / "other")
        with self.assertRaisesRegex(SystemExit, "two files are called stories.txt"):
            corpus.gather([self.folder / "stories.txt"] * 2, [], self.folder / "other")
        (self.folder / "latin.txt").write_bytes(b"caf\xe9")
        with self.assertRaisesRegex(SystemExit, "latin.txt is not UTF-8"):
            corpus.gather([self.folder / "latin.txt"], [], self.folder / "other")

    def test_a_title_is_a_whole_line(self):
        (self.folder / "others.txt").write_text("Title: Cat\none\n\nCategory theory\n\nA Cat sat.\n\nCat\ntwo\n")
        about = corpus.gather([self.folder / "others.txt"], ["Cat"], self.folder / "other")
        self.assertEqual(about["documents"]["Cat"], 2)

    def test_a_title_that_is_not_there_is_named(self):
        with self.assertRaisesRegex(SystemExit, "no document has the title 'Moby Dick'"):
            corpus.gather([self.folder / "stories.txt"], ["Moby Dick"], self.folder / "other")

    def test_tokens_are_those_of_our_tokenizer_and_lines_begin_where_they_do(self):
        run(tokenizer, "--out", self.folder / "tokenizer.json", "--size", 300, self.data / "train.txt")
        tokens, lines = corpus.tokens_of(self.data / "train.txt", self.folder / "tokenizer.json", 1, 2)
        ours = Tokenizer(self.folder / "tokenizer.json")
        parts = [ours.decode(part) for part in np.split(tokens, np.flatnonzero(tokens == 1))[1:]]
        self.assertEqual(parts, [document.lower() for document in self.read("train")])
        own = [token for document in self.read("train") for token in [1, *ours.encode(document.lower()), 2]]
        self.assertEqual(tokens.tolist(), own)
        for line in lines:
            before = tokens[line - 1]
            self.assertTrue(before == 1 or ours.decode([before]).endswith("\n"), line)
        self.assertEqual(len(lines), sum(document.count("\n") + 1 for document in self.read("train")))

    def test_merges_are_left_out_at_random_and_the_text_stays_the_same(self):
        run(tokenizer, "--out", self.folder / "tokenizer.json", "--size", 300, self.data / "train.txt")
        whole, drawn = (corpus.tokens_of(self.data / "train.txt", self.folder / "tokenizer.json", 1, 2, dropout)[0] for dropout in (None, 0.3))
        self.assertGreater(len(drawn), 1.2 * len(whole))
        decode = Tokenizer(self.folder / "tokenizer.json").decode
        self.assertEqual(decode(drawn), decode(whole))


class Morphemes(Corpora):
    def setUp(self):
        super().setUp()
        said = "the walk stops, he walks and walked to a box of boxes; the horse of all horses is after aft\n"
        (self.data / "train.txt").write_text(said * 6 + "after after this\n" * 120)
        (self.folder / "small.toml").write_text(RECIPE)
        self.args = [self.folder / "small.toml", "--data", self.data, "--work", self.folder, "--only", "tokenizer"]

    def test_endings_of_words(self):
        words = "walk stop make quick tall cat box wish horse aft this never sister walked cats quickly stopped making tallest boxes wishes horses makes use uses"
        endings = Endings.of([words] * 5 + ["after after"] * 60)
        for word, ending in {"walked": "ed", "cats": "s", "quickly": "ly", "stopped": "ed", "making": "ing", "tallest": "est", "boxes": "es", "wishes": "es",
                             "horses": "s", "makes": "s", "uses": "s", "after": "", "this": "", "never": "", "sister": "", "walk": "",
                             # and words that it never saw
                             "wugs": "s", "wugged": "ed", "Wugging": "ing", "gutches": "es", "nizes": "es", "tass": "", "his": "", "gling": "", "as": "", "\u00e9": ""}.items():
            self.assertEqual(endings.ending(word), len(ending), word)
        self.assertEqual(Endings.of([words] * 4).table, {})  # seen too rarely

    def test_pairs_that_meet_where_an_ending_begins_count_against_a_merge(self):
        pieces = {("cats", 3): 2, ("cat", 0): 2, ("so", 0): 3, ("tsts", 0): 9}
        # ts: 18 - 15 * 2 < 0. st: 9, which is all of tsts there is; at and ca: 4 each; so: 3
        self.assertEqual(merges.learn(pieces, 9), [("s", "t"), ("st", "s"), ("t", "sts"), ("a", "t"), ("c", "at"), ("s", "o")])
        self.assertEqual(merges.learn(pieces, 1), [("s", "t")])
        self.assertEqual(merges.learn(pieces, 9, penalty=-1)[0], ("t", "s"))  # as if nothing were an ending
        self.assertEqual(merges.learn({("ab", 0): 1}, 9), [])

    def test_scores_are_as_if_counted_anew_for_every_merge(self):
        drawn = np.random.default_rng(5)
        pieces = {}
        for _ in range(60):
            letters = "".join(drawn.choice(list("ab"), drawn.integers(1, 12)))
            pieces[letters, int(drawn.integers(len(letters)))] = int(drawn.integers(1, 9))
        cut, expected = [(list(letters), place, times) for (letters, place), times in pieces.items()], []
        while len(expected) < 60:
            scores = Counter()
            for symbols, place, times in cut:
                ends = np.cumsum([len(symbol) for symbol in symbols])
                for end, pair in zip(ends, zip(symbols, symbols[1:])):
                    scores[pair] += -3 * times if end == place else times
            pair = min(scores, key=lambda pair: (-scores[pair], pair), default=None)
            if pair is None or scores[pair] < 2:
                break
            expected.append(pair)
            for symbols, _, _ in cut:
                at = 0
                while at + 1 < len(symbols):
                    if (symbols[at], symbols[at + 1]) == pair:
                        symbols[at:at + 2] = ["".join(pair)]
                    at += 1
        self.assertGreater(len(expected), 30)
        self.assertEqual(merges.learn(pieces, 60, penalty=3), expected)

    def test_no_token_reaches_across_the_beginning_of_an_ending(self):
        file, line = self.folder / "tokenizer.json", "he walked after boxes, and walks."
        crossing = {}
        for endings in ("false", "true"):
            run(train, *self.args, "--set", f"tokenizer.endings={endings}")
            (self.folder / "done/tokenizer.json").unlink()
            own = Tokenizer(file)
            ids = corpus.encoder_of(file)([line])[0]
            self.assertEqual((own.decode(ids), own.encode(line)), (line, ids))  # by both: nothing but BPE
            places = set(np.cumsum([len(own.decode([token])) for token in ids]))
            crossing[endings] = {len("he walk"), len("he walked after box"), len(line) - 2} - places, " walked" in map(own.decode, zip(range(3, len(own.tokens))))
        self.assertEqual(crossing["true"], (set(), False))
        self.assertTrue(all(crossing["false"]))

    def test_endings_are_for_a_tokenizer_that_is_learned(self):
        with self.assertRaisesRegex(SystemExit, "endings is for a tokenizer that is learned"):
            stages.tokens(Tokens(name="tokenizer", endings=True, extend="shipped"), Run(self.data, self.folder, {}))
        run(tokenizer, "--out", self.folder / "tokenizer.json", "--size", 280, "--endings", self.data / "train.txt")
        with_endings = set(Tokenizer(self.folder / "tokenizer.json").vocabulary)
        run(tokenizer, "--out", self.folder / "tokenizer.json", "--size", 280, self.data / "train.txt")
        self.assertIn("es", set(Tokenizer(self.folder / "tokenizer.json").vocabulary) - with_endings)
        with self.assertRaises(SystemExit) as refused, redirect_stderr(StringIO()):
            run(tokenizer, "--out", self.folder / "tokenizer.json", "--endings", "--extend", self.folder / "tokenizer.json")
        self.assertEqual(refused.exception.code, 2)


class AnotherVocabulary(Corpora):
    """A stage that starts from a model whose tokens are others"""

    def setUp(self):
        super().setUp()
        (self.folder / "before").mkdir()
        self.before = self.tokenizer("before", (self.data / "train.txt").read_text().splitlines(), 300, ADDED[:2])
        self.shape = self.config(len(self.before.tokens))
        torch.manual_seed(3)
        self.model = BitMar(self.shape)
        torch.save({"config": self.shape, "model": self.model.state_dict()}, self.folder / "before/text.pt")

    def tokenizer(self, folder, lines, size, markers):
        tokenizer.write(self.folder / folder / "tokenizer.json", *tokenizer.train(lines, size), markers)
        return Tokenizer(self.folder / folder / "tokenizer.json")

    def started(self, after, source="before/text.pt", parts="decoder,embedding"):
        settings = Text("text", start={parts: str(self.folder / source)})
        return stages.model_of(settings, Run(self.data, self.folder, self.shape), after)

    def test_tokens_of_both_keep_their_rows_and_others_begin_as_the_mean_of_their_parts(self):
        export_checkpoint(self.folder / "before/text.pt", self.folder / "before/tokenizer.json", self.folder / "exported")
        after = self.tokenizer(".", ["xyz xyz goat"] * 9, 264, [ADDED[1], ADDED[0], ADDED[2]])
        for source in ("before/text.pt", "exported"):
            rows = read_checkpoint(self.folder / source)["model"]["embedding.weight"]
            started = self.started(after, source).embedding.weight
            self.assertEqual(len(started), 264 + 3)
            kept, new = ([token for token in after.ids if (token in self.before.ids) == known] for known in (True, False))
            self.assertGreater(len(kept), 250)
            self.assertLessEqual({ADDED[0], "<bos>"}, set(kept))
            for token in kept:
                torch.testing.assert_close(started[after.ids[token]], rows[self.before.ids[token]], rtol=0, atol=0)
            self.assertLessEqual({"xyz", ADDED[2]}, set(new))
            for token in set(new) - {ADDED[2]}:
                torch.testing.assert_close(started[after.ids[token]], rows[self.before.encode(after.decode([after.ids[token]]))].mean(0))
            torch.testing.assert_close(started[after.ids[ADDED[2]]], rows.mean(0))

    def test_a_vocabulary_without_some_tokens_has_the_rows_of_the_others(self):
        after = self.tokenizer(".", (self.data / "train.txt").read_text().splitlines(), 300, ADDED[1:2])
        rows = self.model.embedding.weight
        torch.testing.assert_close(self.started(after).embedding.weight, torch.cat([rows[:300], rows[301:]]), rtol=0, atol=0)

    def test_a_bag_of_words_head_goes_with_its_vocabulary(self):
        self.shape = recipe.merged(self.shape, {"bag_of_words": True})
        torch.save({"config": self.shape, "model": BitMar(self.shape).state_dict()}, self.folder / "before/text.pt")
        same = self.tokenizer(".", (self.data / "train.txt").read_text().splitlines(), 300, ADDED[:3])  # and a token more
        self.assertEqual(len(self.started(same, parts="bag_of_words,embedding").embedding.weight), 303)
        other = self.tokenizer(".", ["xyz xyz goat"] * 9, 264, ADDED)
        with self.assertRaisesRegex(SystemExit, "another vocabulary"):
            self.started(other, parts="bag_of_words,embedding")


class Pairs(Corpora):
    def test_the_likelier_text_is_chosen_as_the_model_token_by_token_does(self):
        run(tokenizer, "--out", self.folder / "tokenizer.json", "--size", 300, self.data / "train.txt")
        config = self.config(len(Tokenizer(self.folder / "tokenizer.json").tokens))
        torch.manual_seed(2)
        model = BitMar(config)
        torch.save({"config": config, "model": model.state_dict()}, self.folder / "text.pt")
        encode = corpus.encoder_of(self.folder / "tokenizer.json")
        texts = [("", "the dog runs"), ("a horse sees", " the old goat away"), ("the sheep", " a"), ("", "two times, ten times")]
        found = pairs.log_probabilities(load_as_trained(self.folder / "text.pt"), encode, texts, batch=3)
        for (context, text_after), value in zip(texts, found):
            first, second = encode([context, text_after])
            tokens = torch.tensor([[1, *first, *second]])
            losses = text.surprises(model.eval(), tokens)
            self.assertAlmostEqual(value, -float(losses[len(first):].detach().sum()), delta=1e-3)
        items = [{"id": str(i), "term": ("agreement", "order")[i % 2], "choices": ["the dog sees", "dog the sees"], "answer": i % 2} for i in range(6)]
        (self.folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        rows = [json.loads(line) for line in run(pairs, "--checkpoint", self.folder / "text.pt", "--tokenizer", self.folder / "tokenizer.json", self.folder / "items.jsonl").splitlines()]
        self.assertEqual({(row["kind"], row["items"]) for row in rows}, {("all", 6), ("agreement", 3), ("order", 3)})
        self.assertEqual(sorted(row["right"] for row in rows), [0.0, 0.5, 1.0])  # the same pair, with either called right
        self.assertEqual(pairs.right(model, encode, [{"choices": ["The dog", "the dog"], "answer": 1}]), [0.5])
        (self.folder / "items.jsonl").write_text('{"question": "why", "choices": ["a", "b"], "answer": 0}\n')
        with self.assertRaisesRegex(SystemExit, "items.jsonl has questions"):
            run(pairs, "--checkpoint", self.folder / "text.pt", "--tokenizer", self.folder / "tokenizer.json", self.folder / "items.jsonl")
        with self.assertRaisesRegex(SystemExit, r"tokenizer.json has \d+ tokens, the model 30\d"):
            run(pairs, "--checkpoint", self.folder / "text.pt", "--tokenizer", MODELS / "text/tokenizer.json", self.folder / "items.jsonl")

    def test_a_checkpoint_computes_as_it_was_trained(self):
        config = self.config(300)
        model = BitMar(config)
        for about in ({}, {"ternary": False}, {"bits": {"decoder.*": 4}}):
            torch.save({"config": config, "model": model.state_dict(), **about}, self.folder / "text.pt")
            precision = load_as_trained(self.folder / "text.pt").decoder.layers[0].attention.q_proj.precision
            self.assertEqual((precision.ternary, precision.bits), (about.get("ternary", True), 4 if "bits" in about else None))


class Learning(Corpora):
    def setUp(self):
        super().setUp()
        (self.data / "validation.txt").write_text("\n\n".join(SENTENCES[::9]) + "\n")
        self.recipe = self.folder / "small.toml"
        self.recipe.write_text(RECIPE)
        self.work = self.folder / "work"

    def test_windows_begin_at_lines_and_are_read_once_an_epoch(self):
        run(train, self.recipe, "--data", self.data, "--work", self.work, "--only", "tokenizer")
        windows = text.Windows(Run(self.data, self.work, {}), "train", {"bos_token_id": 1, "eos_token_id": 2})
        for epoch in range(3):
            starts = windows.starts(16, epoch)
            self.assertEqual(len(set(starts.tolist())), len(starts))
            self.assertGreater(len(set(starts.tolist()) & set(windows.lines.tolist())), 0.8 * len(starts))
            self.assertGreater(len(starts) * 16, 0.5 * len(windows.tokens))
        # Of a line that is far longer than a window, too
        windows.tokens, windows.lines = np.arange(3000), np.array([1, 2000])
        seen = np.zeros(3000, bool)
        for epoch in range(60):
            for start in windows.starts(16, epoch):
                seen[start:start + 16] = True
        self.assertGreater(seen[1:].mean(), 0.98)
        with self.assertRaisesRegex(SystemExit, "train.txt has 3000 tokens, too few for windows of 1024"):
            windows.check(16, 1024)
        windows = text.Windows(Run(self.data, self.work, {}), "train", {"bos_token_id": 1, "eos_token_id": 2})
        self.assertFalse(np.array_equal(np.sort(windows.starts(16, 0)), np.sort(windows.starts(16, 1))))
        batch = windows.at(starts[:4], 16)
        self.assertTrue((batch[:, 0] == 1).all())
        self.assertEqual(batch[2, 1:].tolist(), windows.tokens[starts[2]:starts[2] + 16].tolist())

    def test_the_loss_is_that_of_the_model_token_by_token(self):
        config = self.config(300)
        for ternary, bits in ((True, {}), (False, {}), (True, {"decoder.layers.0.*": 8, "decoder.*.ffn.*": 4, "embedding": 4})):
            torch.manual_seed(3)
            model = set_bits(set_precision(BitMar(config), Precision(ternary=ternary)), bits)
            tokens = torch.randint(3, 300, (3, 9))
            tokens[:, 0] = 1
            fused, keep = model.encode_text(torch.ones(1, 1, dtype=torch.long))
            sequence, mask = model.condition(None, model.fuse(fused, keep)[0], keep, None)
            logits = model.logits(tokens[:, :-1], sequence.expand(3, -1, -1), mask.expand(3, -1, -1, -1))
            wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
            found = text.surprises(model, tokens)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
            grads = [torch.autograd.grad(loss.sum(), model.decoder.parameters(), allow_unused=True) for loss in (found, wanted)]
            for one, other in zip(*grads):
                torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3 * float(other.abs().max()))

    def test_a_tutors_share_of_the_labels(self):
        run(train, self.recipe, "--data", self.data, "--work", self.work, "--only", "tokenizer")
        config, vocabulary = recipe.load(str(self.recipe)).config, Tokenizer(self.work / "tokenizer.json")
        torch.manual_seed(0)
        made = lambda: stages.model_of(Text(), Run(self.data, self.work, config), vocabulary).eval()
        model, tutor = made(), made()
        tokens = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(1))
        logits, taught = (packed.probabilities(each, text.states_of(each, tokens[:, :-1])).detach() for each in (model, tutor))
        plain = text.surprises(model, tokens)
        torch.testing.assert_close(-logits.log().gather(1, tokens[:, 1:].reshape(-1, 1))[:, 0], plain, rtol=1e-4, atol=1e-4)
        # The loss is linear in the labels.
        of_tutor = -(taught * logits.log()).sum(1)
        for share in (0.0, 0.3, 1.0):
            found = text.surprises(model, tokens, tutor, share)
            torch.testing.assert_close(found, (1 - share) * plain + share * of_tutor, rtol=1e-4, atol=1e-4)
        # So are its gradients: half of a tutor who expects what is in the text and half of the text are the text.
        sure = torch.nn.functional.one_hot(tokens[:, 1:].flatten(), taught.shape[1]).float()
        states = lambda: text.states_of(model, tokens[:, :-1])
        one, other = (torch.autograd.grad(loss.sum(), [model.embedding.weight, *model.decoder.parameters()], allow_unused=True)
                      for loss in (plain, packed.surprises(model, states(), tokens[:, 1:].flatten(), taught=sure, share=0.5)))
        for a, b in zip(one, other):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
        # A model that expects what its tutor does learns nothing.
        grad = torch.autograd.grad(text.surprises(model, tokens, model, 1.0).sum(), model.embedding.weight)[0]
        self.assertLess(float(grad.abs().max()), 1e-4 * float(one[0].abs().max()))

    def test_a_tutor_that_cannot_be_one_is_said_at_once(self):
        args = [self.recipe, "--data", self.data, "--set", "text.steps=1"]
        run(train, *args, "--work", self.work, "--only", "tokenizer", "text", "--set", "text.ternary=false")
        tutor = f'text.tutor="{self.work}/text.pt"'
        run(train, *args, "--work", self.folder / "learner", "--set", tutor)
        with self.assertRaisesRegex(SystemExit, "text.pt has another vocabulary"):
            run(train, *args, "--work", self.folder / "other", "--set", tutor, "--set", "tokenizer.size=280")
        with self.assertRaisesRegex(SystemExit, "tutor_share = -1.0 is no share of a label"):
            run(train, *args, "--work", self.folder / "learner2", "--set", tutor, "--set", "text.tutor_share=-1.0")
        with self.assertRaisesRegex(SystemExit, "not there"):
            run(train, *args, "--work", self.folder / "learner3", "--set", 'text.tutor="nobody"')

    def test_a_text_becomes_a_model_and_an_interrupted_run_goes_on(self):
        args = [self.recipe, "--data", self.data, "--work", self.work]
        with self.assertRaisesRegex(SystemExit, "the time is up at step 0 of 60"):
            run(train, *args, "--minutes", 0)
        run(train, *args)
        rows = [json.loads(line) for line in (self.work / "text.jsonl").read_text().splitlines()]
        losses = [row["lm"] for row in rows if "lm" in row]
        held = [row["val_lm"] for row in rows if "val_lm" in row]
        self.assertLess(losses[-1], 0.7 * np.log(300))
        self.assertLess(held[-1], 0.7 * np.log(300))
        self.assertEqual(sum("val_perplexity" in row for row in rows), 3)  # twice on the way, all of it at the end
        model = import_model(self.work / "model")
        self.assertFalse({"ask", "bag_of_words"} & set(model.config))
        self.assertTrue((self.work / "model/tokenizer.json").exists())

    def test_two_processes_learn_what_one_does(self):
        losses = []
        for processes in (1, 2):
            work = self.folder / f"{processes}"
            together(processes, "bitmar.train", self.recipe, "--data", self.data, "--work", work, "--device", "cpu", "--products", "float32",
                     "--only", "tokenizer", "text", "--set", "text.steps=4", "--set", "text.batch=48", "--set", "text.evaluate_every=1")
            rows = [json.loads(line) for line in (work / "text.jsonl").read_text().splitlines()]
            losses.append([value for row in rows for name, value in row.items() if name in ("lm", "val_lm")])
        self.assertEqual(len(losses[0]), 6)  # of every step, of all steps, and at the end
        np.testing.assert_allclose(*losses, rtol=1e-3)

    def test_by_the_clock_several_processes_end_together(self):
        printed = together(2, "bitmar.train", self.recipe, "--data", self.data, "--work", self.work, "--device", "cpu", "--products", "float32",
                           "--only", "tokenizer", "text", "--set", "text.seconds=3", "--set", "text.evaluate_every=3")
        self.assertIn("val_perplexity", printed[0])

    def test_another_text_has_other_tokens(self):
        run(train, self.recipe, "--data", self.data, "--work", self.work, "--only", "tokenizer")
        windows = lambda: text.Windows(Run(self.data, self.work, {}), "train", {"bos_token_id": 1, "eos_token_id": 2})
        before = len(windows().tokens)
        self.assertEqual(len(windows().tokens), before)
        drawn = text.Windows(Run(self.data, self.work, {}), "train", {"bos_token_id": 1, "eos_token_id": 2}, 0.5)
        self.assertGreater(len(drawn.tokens), 1.2 * before)
        self.assertEqual(len(windows().tokens), before)
        (self.data / "train.txt").write_text("a dog runs\n")
        self.assertLess(len(windows().tokens), 12)

    def test_merges_are_left_out_of_what_is_learned_alone(self):
        args = [self.recipe, "--data", self.data, "--only", "tokenizer", "text", "--set", "text.steps=1"]
        lengths = {}
        for dropout in (0.0, 0.5):
            run(train, *args, "--work", self.folder / f"{dropout}", "--set", f"text.bpe_dropout={dropout}")
            lengths[dropout] = [len(np.load(self.folder / f"{dropout}/{part}.npz")["tokens"]) for part in ("train", "validation")]
        self.assertGreater(lengths[0.5][0], 1.2 * lengths[0.0][0])
        self.assertEqual(lengths[0.5][1], lengths[0.0][1])
        with self.assertRaisesRegex(SystemExit, "bpe_dropout = 1.5 is no share of merges"):
            run(train, *args, "--work", self.folder / "none", "--set", "text.bpe_dropout=1.5")

    def test_weights_of_other_bits_learn_and_are_not_exported(self):
        with self.assertRaisesRegex(SystemExit, "other bits than the format"):
            run(train, self.recipe, "--data", self.data, "--work", self.work, "--set", "text.steps=2", "--set", 'text.bits={ "decoder.*" = 4, embedding = 4 }')
        with self.assertRaisesRegex(SystemExit, "patterns? of layers' names"):
            run(train, self.recipe, "--data", self.data, "--work", self.folder / "other", "--set", 'text.bits={ "nowhere.*" = 4 }')
        with self.assertRaisesRegex(SystemExit, "bits = .* is no dict"):
            run(train, self.recipe, "--data", self.data, "--work", self.folder / "other", "--set", 'text.bits={ "decoder.*" = "four" }')

    def test_weights_of_other_bits_begin_as_what_the_ternary_ones_stand_for(self):
        run(train, self.recipe, "--data", self.data, "--work", self.work, "--set", "text.steps=2")
        settings = lambda bits: Text(start={"decoder,embedding": str(self.work / "model")}, bits=bits)
        config = recipe.load(str(self.recipe)).config
        made = lambda bits: stages.model_of(settings(bits), Run(self.data, self.work, config), Tokenizer(self.work / "tokenizer.json"))
        tokens = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            wanted, found = (text.surprises(made(bits), tokens) for bits in ({}, {"decoder.*": 8}))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
        with self.assertRaisesRegex(SystemExit, "bits are of a model that is not in float"):
            run(train, self.recipe, "--data", self.data, "--work", self.folder / "other", "--set", "text.ternary=false", "--set", 'text.bits={ "decoder.*" = 4 }')

    def test_too_little_text_is_said_at_once(self):
        (self.data / "train.txt").write_text("a dog runs on the grass.\n")
        with self.assertRaisesRegex(SystemExit, r"train.txt has \d+ tokens, too few for windows of 16"):
            run(train, self.recipe, "--data", self.data, "--work", self.work, "--only", "tokenizer", "text")

    def test_nothing_to_validate_on_is_no_perplexity(self):
        (self.data / "validation.txt").write_text("a dog\n")
        run(train, self.recipe, "--data", self.data, "--work", self.work, "--only", "tokenizer", "text", "--set", "text.steps=2", "--set", "text.evaluate_every=1")
        self.assertNotIn("perplexity", (self.work / "text.jsonl").read_text())

    def test_what_the_engine_would_refuse_is_not_trained(self):
        self.recipe.write_text(RECIPE.replace("ask = false\n", ""))
        with self.assertRaisesRegex(SystemExit, "the vocabulary has no token <ask>"):
            run(train, self.recipe, "--data", self.data, "--work", self.work)

    def test_the_folder_has_to_be_a_corpus(self):
        with self.assertRaisesRegex(SystemExit, "no corpus.json; name the folder that bitmar.data.corpus filled"):
            run(train, self.recipe, "--data", self.folder, "--work", self.work)


if __name__ == "__main__":
    unittest.main()
