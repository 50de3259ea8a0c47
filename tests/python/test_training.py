"""Resuming a stage, straight-through gradients, and evaluation in the engine's order."""

import json
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from bitmar.data.dataset import Views
from bitmar.data.inputs import FrozenConvolutions, Pixels
from bitmar.data.texts import Speech
from bitmar.deadline import Deadline
from bitmar.model.bitmar import FIRST_LAYERS
from bitmar.model.ordered import engine_order
from bitmar.model.quant import BitConv2d, BitLinear, Precision, fake_quantized_rows, quantize_activation, quantize_weight, rounded_once, rounded_weight, set_bits, set_precision
from bitmar.train import settings
from bitmar.train.bag_of_words import FEWEST, bag_of_words, bags, losses, rarities, shares, strange_summaries, summaries
from bitmar.train.captioning import INFO_NCE_TEMPERATURE, Split, distil_loss, info_nce
from bitmar.train.encoder import encoder
from bitmar.train.mix import mix
from bitmar.train.trainer import Trainer
from prepared import run_in, tiny_model, tiny_tokenizer, write_rows


def loss_of(model, seed):
    torch.manual_seed(seed)
    tokens = torch.randint(3, model.config["vocab_size"], (2, 6))
    return model.logits(tokens, torch.randn(2, 3, model.config["hidden_size"])).logsumexp(-1).mean()


class Mix(unittest.TestCase):
    def test_every_weight_is_between_and_models_are_not_confused(self):
        def checkpoint(model):
            return {"config": model.config, "model": model.state_dict()}

        start, end = (checkpoint(tiny_model(seed)) for seed in (0, 1))
        for name, value in mix(start, end, 0.25)["model"].items():
            wanted = 0.75 * start["model"][name] + 0.25 * end["model"][name]
            self.assertTrue(torch.allclose(value, wanted, atol=1e-6), name)
        with self.assertRaises(ValueError):
            mix(start, {**end, "config": {}}, 0.5)
        # An exported model knows thresholds that were fitted to it.
        fitted = {**start["config"], "confidence": {}, "memory": {**start["config"]["memory"], "recall_threshold": 0.5}}
        self.assertEqual(mix({**start, "config": fitted}, end, 0.25)["config"], end["config"])


def tiny_views(folder: Path, photos=6, views=2) -> None:
    """Noise as pixels and as the teacher's grid."""
    rng = np.random.default_rng(0)
    for split, count in (("train", views), ("val", 1)):
        for view in range(count):
            (folder / split / str(view)).mkdir(parents=True)
            for name, array in (("pixels.u8", rng.integers(0, 256, (photos, 3, 32, 32), np.uint8)),
                                ("grids.f16", rng.normal(size=(photos, 64, 40)).astype(np.float16)),
                                ("done.u8", np.ones(photos, np.uint8))):
                array.tofile(folder / split / str(view) / name)


class Encoder(unittest.TestCase):
    def test_the_first_convolutions_learn_only_when_the_whole_is_trained(self):
        for whole in (False, True):
            with tempfile.TemporaryDirectory() as work:
                tiny_views(Path(work) / "views")
                model = tiny_model()
                before = {name: p.clone() for name, p in model.vision.named_parameters()}
                encoder(settings.Encoder("encoder", steps=2, rate=1e-2, whole=whole), run_in(work), model, None)
                first = tuple(f"stem.{i}." for i in range(FIRST_LAYERS))
                for name, p in model.vision.named_parameters():
                    if name.endswith("weight"):
                        self.assertNotEqual(torch.equal(p, before[name]), whole or not name.startswith(first), name)

    def test_cached_maps_are_those_of_the_first_convolutions(self):
        with tempfile.TemporaryDirectory() as work, torch.no_grad():
            tiny_views(Path(work))
            views = Views(Path(work), "train")
            for seed in (0, 1, 0):
                model = tiny_model(seed)
                got = FrozenConvolutions(model, views, "cpu")([1, 2], 0)
                wanted = model.vision.run_stem(views.pixels([1, 2], 0).float() - 128, 0, FIRST_LAYERS)
                self.assertLess(float((got - wanted).abs().max()), float(wanted.abs().max()) / 200)


class Resume(unittest.TestCase):
    def test_interrupted_training_ends_where_uninterrupted_training_does(self):
        def train(folder, chunks):
            for steps in chunks:
                model = tiny_model()
                trainer = Trainer(settings.Learning("test", steps=4), run_in(folder), model, model.parameters())
                while trainer.step < steps:
                    trainer.update({"lm": loss_of(model, trainer.step)}, {"lm": 1.0})
                trainer.save()
            return model.state_dict(), trainer.average.state_dict()

        with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as parts:
            for a, b in zip(train(whole, [4]), train(parts, [1, 3, 4])):
                for name in a:
                    self.assertTrue(torch.equal(a[name], b[name]), name)


    def test_a_run_out_of_time_saves_and_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            model = tiny_model()
            trainer = Trainer(settings.Learning("test", steps=4), run_in(folder, deadline=Deadline(-1)), model, model.parameters())
            with self.assertRaisesRegex(SystemExit, "step 0 of 4"):
                trainer.running()
            self.assertTrue((Path(folder) / "test.pt").exists())


class Quantisation(unittest.TestCase):
    def test_forward_is_integers_times_scales(self):
        torch.manual_seed(1)
        layer, x = BitLinear(24, 8), torch.randn(5, 24)
        t, gamma = quantize_weight(layer.weight)
        q, s = quantize_activation(x)
        self.assertTrue(set(t.unique().tolist()) <= {-1.0, 0.0, 1.0})
        self.assertLessEqual(float(q.abs().max()), 127)
        self.assertTrue(torch.equal(layer(x), (q @ t.T) * (s * gamma)))

    def test_gradients_pass_straight_through(self):
        torch.manual_seed(1)
        layer, x = BitLinear(24, 8), torch.randn(5, 24, requires_grad=True)
        layer(x).sum().backward()
        t, gamma = quantize_weight(layer.weight.detach())
        q, s = quantize_activation(x.detach())
        ones = torch.ones(5, 8)
        self.assertTrue(torch.allclose(x.grad, ones @ (t * gamma), atol=1e-5))
        self.assertTrue(torch.allclose(layer.weight.grad, ones.T @ (q * s), atol=1e-4))

    def test_other_bits_have_a_scale_for_each_output_and_straight_gradients(self):
        torch.manual_seed(1)
        for bits, most in ((8, 127), (4, 7)):
            for layer, x in ((BitLinear(24, 8), torch.randn(5, 24)), (BitConv2d(6, 8, 3, 2), torch.randn(2, 6, 9, 9))):
                set_precision(layer, Precision(bits=bits))
                q, scale = (value.detach() for value in rounded_weight(layer.weight, bits))
                self.assertEqual((float(q.abs().max()), scale.shape), (most, (8,)))
                weight = q * scale.view(-1, *[1] * (q.dim() - 1))
                self.assertLess(float((weight - layer.weight.detach()).abs().max()), float(layer.weight.detach().abs().max()) / most * 0.51)
                dims = -1 if x.dim() == 2 else (1, 2, 3)
                integers, s = quantize_activation(x, dims)
                rounded = (integers * s).requires_grad_()
                wanted = F.linear(rounded, weight.requires_grad_()) if x.dim() == 2 else F.conv2d(rounded, weight.requires_grad_(), None, 2, 1)
                x.requires_grad_()
                found = layer(x)
                torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
                grad = torch.randn_like(found)
                found.backward(grad), wanted.backward(grad)
                torch.testing.assert_close(x.grad, rounded.grad, rtol=1e-3, atol=1e-4)
                torch.testing.assert_close(layer.weight.grad, weight.grad, rtol=1e-3, atol=1e-3)

    def test_bits_are_of_the_layers_named(self):
        model = tiny_model()
        ffn = [layer for name, layer in model.named_modules() if isinstance(layer, BitLinear) and name.startswith("decoder.layers.0.ffn")]
        set_bits(model, {"decoder.layers.0.ffn.*": 4, "embedding": 4})
        self.assertEqual([layer.precision.bits for layer in ffn], [4, 4])
        self.assertIsNone(model.decoder.layers[0].attention.q_proj.precision.bits)
        self.assertTrue(torch.equal(model.embed(torch.tensor([3, 5])), fake_quantized_rows(model.embedding.weight, 4)[[3, 5]]))
        for wrong in ({"nowhere.*": 4}, {"vision.stem.0": 4}, {"decoder.*": 1}, {"decoder.*": 9}):
            with self.assertRaises(SystemExit):
                set_bits(model, wrong)

    def test_rows_do_not_depend_on_their_neighbours(self):
        torch.manual_seed(1)
        layer, x = BitLinear(24, 8), torch.randn(5, 24)
        alone = layer(x[:1])
        x[1:] *= 1000
        self.assertTrue(torch.equal(layer(x)[:1], alone))


class Distillation(unittest.TestCase):
    def test_it_is_least_at_the_tutors_own_words_and_counts_no_padding(self):
        torch.manual_seed(2)
        logits, real = torch.randn(2, 3, 5), torch.tensor([[True, True, False], [True, False, False]])
        targets = torch.randn(2, 3, 5).softmax(-1)
        wanted = F.cross_entropy(logits[real], targets[real])
        self.assertTrue(torch.allclose(distil_loss(logits, targets, real), wanted, atol=1e-6))
        padded = torch.where(real[..., None], logits, logits + 7 * torch.randn_like(logits))
        self.assertTrue(torch.allclose(distil_loss(padded, targets, real), wanted, atol=1e-6))
        own = distil_loss(targets.log(), targets, real)
        self.assertLess(float(own), float(distil_loss(targets.log() + 0.1 * torch.randn(2, 3, 5), targets, real)))


class SharedSpace(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        self.images, self.captions = (F.normalize(torch.randn(n, 8), dim=-1) for n in (4, 12))
        self.owner = torch.arange(4).repeat_interleave(3)

    def test_one_caption_a_picture_is_clips_loss(self):
        captions, all_four = self.captions[:4], torch.arange(4)
        similarity = self.images @ captions.t() / INFO_NCE_TEMPERATURE
        wanted = (F.cross_entropy(similarity, all_four) + F.cross_entropy(similarity.t(), all_four)) / 2
        self.assertTrue(torch.allclose(info_nce(self.images, captions, all_four), wanted))

    def test_a_pictures_captions_are_not_held_against_each_other(self):
        # Each caption of a picture meets the other pictures' captions alone, so the loss is the mean over choices of one.
        similarity = self.images @ self.captions.t() / INFO_NCE_TEMPERATURE
        own = self.owner == torch.arange(4)[:, None]
        wanted = 0.0
        for i in range(4):
            for positive in similarity[i][own[i]]:
                wanted -= torch.cat([positive[None], similarity[i][~own[i]]]).log_softmax(0)[0] / 12
        to_images = F.cross_entropy(similarity.t(), self.owner)
        got = info_nce(self.images, self.captions, self.owner)
        self.assertTrue(torch.allclose(got, (wanted + to_images) / 2, atol=1e-5))


class Memory(unittest.TestCase):
    def setUp(self):
        self.model = tiny_model(5).eval()
        width = self.model.config["memory"]["width"]
        torch.manual_seed(5)
        self.keys = torch.nn.functional.normalize(torch.randn(3, width), dim=-1)
        self.values = torch.nn.functional.normalize(torch.randn(3, width), dim=-1)

    def test_slots_below_the_threshold_are_as_if_absent(self):
        memory, query = self.model.memory, self.keys[:1]
        alone, found = memory.read(query, self.keys[:1], self.values[:1])
        memory.read_threshold = 0.99
        with_others, _ = memory.read(query, self.keys, self.values)
        self.assertTrue(found.all())
        self.assertTrue(torch.allclose(alone, with_others, atol=1e-5))
        _, found = memory.read(query, self.keys[1:], self.values[1:])
        self.assertFalse(found.any())

    def test_a_token_that_was_not_found_changes_no_caption(self):
        model = self.model
        tokens = torch.tensor([[model.config["bos_token_id"], 9, 11]])
        text, keep = model.encode_text(tokens)
        fused, _ = model.fuse(text, keep)
        vision = torch.randn(1, 4, model.config["hidden_size"])
        retrieved, _ = model.memory.read(self.keys[:1], self.keys, self.values)
        without = model.logits(tokens, *model.condition(None, fused, keep, vision))
        masked = model.logits(tokens, *model.condition(retrieved, fused, keep, vision, torch.tensor([False])))
        read = model.logits(tokens, *model.condition(retrieved, fused, keep, vision, torch.tensor([True])))
        self.assertTrue(torch.allclose(without, masked, atol=1e-5))
        self.assertFalse(torch.allclose(without, read, atol=1e-3))


class Generation(unittest.TestCase):
    def test_cached_decoding_is_the_whole_pass_token_by_token(self):
        model = tiny_model(3).eval()
        torch.manual_seed(0)
        conditioning = torch.randn(3, 5, model.config["hidden_size"])
        with torch.no_grad():
            for row, said in enumerate(model.greedy(conditioning, limit=12)):
                tokens = torch.tensor([[model.config["bos_token_id"], *said]])
                best = model.logits(tokens, conditioning[row:row + 1])[0].argmax(-1).tolist()
                self.assertEqual(best[:len(said)], said)


    def test_weights_rounded_once_say_the_same(self):
        model = tiny_model(3)
        torch.manual_seed(0)
        given = torch.randn(4, 3, model.config["hidden_size"])
        wanted = model.greedy(given)
        with rounded_once(model.decoder):
            model.decoder.layers[0].ffn.up_proj.weight.data.zero_()  # not looked at again
            self.assertEqual(model.greedy(given), wanted)
        self.assertIsNone(model.decoder.layers[0].ffn.up_proj.fixed)
        self.assertNotEqual(model.greedy(given), wanted)


class EngineOrder(unittest.TestCase):
    def test_only_the_order_differs(self):
        model = tiny_model(3).eval()
        tokens = torch.randint(3, model.config["vocab_size"], (2, 7))
        conditioning = torch.randn(2, 5, model.config["hidden_size"])
        with torch.no_grad():
            plain = model.decoder.layers[0].attention_norm(conditioning)
            attended = model.text_encoder.layers[0].attention(conditioning, conditioning)
        with engine_order(model):
            self.assertTrue(torch.allclose(model.decoder.layers[0].attention_norm(conditioning), plain, rtol=1e-5))
            ordered = model.text_encoder.layers[0].attention(conditioning, conditioning)
            self.assertTrue(torch.allclose(ordered, attended, rtol=1e-2, atol=1e-2))
            self.assertEqual(model.logits(tokens, conditioning).shape, (2, 7, model.config["vocab_size"]))
        self.assertTrue(torch.is_grad_enabled())


class Causality(unittest.TestCase):
    def test_later_tokens_change_no_earlier_logits(self):
        model = tiny_model(3).eval()
        tokens = torch.randint(3, model.config["vocab_size"], (1, 6))
        with torch.no_grad():
            before = model.logits(tokens)
            tokens[0, 4] = (tokens[0, 4] + 1) % model.config["vocab_size"]
            after = model.logits(tokens)
        self.assertTrue(torch.equal(before[:, :4], after[:, :4]))
        self.assertFalse(torch.equal(before[:, 4:], after[:, 4:]))

    def test_padding_changes_no_fused_mean(self):
        model = tiny_model(3).eval()
        pad, bos = model.config["pad_token_id"], model.config["bos_token_id"]
        with torch.no_grad():
            _, short = model.fuse(*model.encode_text(torch.tensor([[bos, 9, 11]])))
            _, padded = model.fuse(*model.encode_text(torch.tensor([[bos, 9, 11, pad, pad]])))
        self.assertTrue(torch.allclose(short, padded, atol=1e-5))


class BagOfWords(unittest.TestCase):
    @staticmethod
    def all_known(photos: int, net) -> tuple[torch.Tensor, torch.Tensor]:
        """That somebody wrote of every photo, and that there are no labels"""
        return torch.ones(photos, dtype=torch.bool), torch.zeros(len(net.rarity), dtype=torch.bool)

    def test_shares_and_rarities_count_photos_and_captions(self):
        tokens = [[[5, 5, 6], [5, 7]], [[5], [5]], [[5, 6], [6]], [[6, 7], [7]]]
        self.assertEqual(shares(tokens, 8)[0].tolist(), [0, 0, 0, 0, 0, 1, 0.5, 0.5])
        rare = rarities(tokens, 8)
        self.assertEqual(FEWEST, 3)
        self.assertAlmostEqual(float(rare[5]), np.log(4 / 3), places=6)
        self.assertAlmostEqual(float(rare[6]), np.log(4 / 3), places=6)
        self.assertEqual(rare[[0, 4, 7]].tolist(), [0, 0, 0])  # never, and of too few photos

    def test_agreement_is_the_cosine_that_is_learned(self):
        model = tiny_model()
        net, generator = model.bag_of_words, torch.Generator().manual_seed(1)
        net.rarity.copy_(torch.rand(net.rarity.shape, generator=generator) * 5)
        net.rarity[model.config["pad_token_id"]] = 0
        logits, said = torch.randn(1, len(net.rarity), generator=generator), [9, 7, 9, 200]
        wanted = net.wanted(logits)[0]
        self.assertAlmostEqual(float(wanted.norm()), 1, places=5)
        self.assertAlmostEqual(net.agreement(wanted, said), 1 - float(losses(net, logits, shares([[said]], len(net.rarity)), *self.all_known(1, net))["disagreement"]), places=5)
        self.assertEqual(net.agreement(wanted, said), net.agreement(wanted, [200, 9, 7]))
        self.assertEqual(net.agreement(wanted, []), 0)
        for tokens in ([], said):
            each = net.agreements(wanted, tokens)
            for token in (7, 11, 200):
                self.assertAlmostEqual(float(each[token]), net.agreement(wanted, [*tokens, token]), places=5)

    def test_nothing_expected_lowers_every_agreement_and_is_not_worth_saying(self):
        model = tiny_model()
        net, nothing, said = model.bag_of_words, model.config["pad_token_id"], [9, 7]
        net.rarity.fill_(2.0)
        net.rarity[nothing] = 20.0
        logits = torch.full((1, len(net.rarity)), -4.0)
        logits[0, said] = 4.0
        sure = net.wanted(logits)[0]
        logits[0, nothing] = 6.0
        unsure = net.wanted(logits)[0]
        self.assertLess(net.agreement(unsure, said), net.agreement(sure, said) / 3)
        self.assertAlmostEqual(net.agreement(unsure, [*said, nothing]), net.agreement(unsure, said), places=6)
        self.assertAlmostEqual(float(net.agreements(unsure, said)[nothing]), net.agreement(unsure, said), places=6)

    def test_what_was_seen_of_a_view_is_kept_for_the_weights_that_saw_it(self):
        with tempfile.TemporaryDirectory() as work:
            tiny_views(Path(work) / "views")
            write_rows(Path(work), [{"captions": [["a dog", "human"]]}] * 6, [])
            tokenizer = tiny_tokenizer(Path(work))
            model, kept = tiny_model(0, tokenizer), lambda: sorted(Path(work).rglob("*summary-*"))
            split = Split(Path(work) / "views", Path(work), "train", Speech(tokenizer, model.config), lambda views: Pixels(views, "cpu"))
            first = summaries(model, split, 1, Deadline())
            self.assertEqual(len(kept()), 1)
            rows = np.lib.format.open_memmap(kept()[0], "r+")
            rows[2] = np.nan  # a photo that the last run did not come to
            with self.assertRaises(SystemExit):
                summaries(model, split, 1, Deadline(-1))
            self.assertTrue(torch.equal(summaries(model, split, 1, Deadline()), first))
            split.inputs = None  # nothing to see any more
            self.assertTrue(torch.equal(summaries(model, split, 1, Deadline()), first))
            split.inputs = Pixels(split.views, "cpu")
            model.vision.stem[0].affine_bias.data += 1
            self.assertFalse(torch.equal(summaries(model, split, 1, Deadline()), first))
            self.assertEqual(len(kept()), 2)

    def test_labels_are_known_where_nobody_wrote(self):
        with tempfile.TemporaryDirectory() as work:
            tiny_views(Path(work) / "views", photos=5)
            write_rows(Path(work), [], [{"captions": [["a dog runs", "human"], ["dog", "rebuilt"]], "labels": ["cat"]}, {"labels": ["cat", "cup"]},
                                        {"captions": [["a cat", "rebuilt"]]}, {"labels": ["happiness"]}, {}])
            tokenizer = tiny_tokenizer(Path(work))
            speech = Speech(tokenizer, tiny_model(0, tokenizer).config)
            texts, written = bags(Split(Path(work) / "views", Path(work), "val", speech), speech)
        self.assertEqual(written.tolist(), [True, False, True, False, False])
        self.assertEqual([[tokenizer.decode(text) for text in bag] for bag in texts], [["a dog runs"], [" a cat a cup"], ["a cat"], [], []])

    def test_of_a_photo_with_labels_alone_other_words_are_not_known(self):
        net, generator = tiny_model().bag_of_words, torch.Generator().manual_seed(2)
        net.rarity.fill_(1)
        count = len(net.rarity)
        logits, said = torch.randn(2, count, generator=generator), shares([[[9, 40]], [[9]]], count)
        written, labels = torch.tensor([True, False]), torch.zeros(count, dtype=torch.bool)
        labels[[9, 77]] = True
        before = losses(net, logits, said, written, labels)
        each = F.binary_cross_entropy_with_logits(logits, said, reduction="none")
        self.assertAlmostEqual(float(before["bce"]), float(each[0].sum() + each[1, [9, 77]].sum()) / 2, places=4)
        unknown = logits.clone()
        unknown[1, 40] += 5  # said of no label: nothing follows
        after = losses(net, unknown, said, written, labels)
        self.assertEqual([float(before[k]) for k in before], [float(after[k]) for k in after])
        unknown[1, 77] += 5  # a label that this photo does not have
        worse = losses(net, unknown, said, written, labels)
        self.assertGreater(float(worse["bce"]), float(before["bce"]))
        self.assertGreater(float(worse["kinds"]), float(before["kinds"]))
        self.assertAlmostEqual(float(before["kinds"]), float(F.cross_entropy(logits[1:, [9, 77]], torch.tensor([0]))), places=5)

    def test_the_stage_learns_the_head_and_nothing_else(self):
        lines = ["a dog runs", "a girl on the beach", "two dogs play", "a man in a red shirt"]
        with tempfile.TemporaryDirectory() as work:
            tiny_views(Path(work) / "views", photos=8)
            shutil.copytree(Path(work) / "views/train/0", Path(work) / "views/val/0", dirs_exist_ok=True)  # noise can only be known by heart
            photos = [{"captions": [[lines[i % 4], "human"], [lines[i % 4] + " in the snow", "human"]]} for i in range(6)] + [{"labels": ["pizza"]}, {"labels": ["cup"]}]
            write_rows(Path(work), photos, photos)
            tokenizer = tiny_tokenizer(Path(work))
            model = tiny_model(0, tokenizer)
            before = {name: value.clone() for name, value in model.state_dict().items()}
            with mock.patch.multiple("bitmar.train.bag_of_words", STRANGE_EACH=8, KINDS_WEIGHT=0.3):  # so few steps as these teach little
                strange = strange_summaries(model)
                bag_of_words(settings.BagOfWords("bag_of_words", steps=400, rate=1e-2, batch=9), run_in(work), model, tokenizer)
            for name, value in model.state_dict().items():
                if not name.startswith("bag_of_words."):
                    self.assertTrue(torch.equal(value, before[name]), name)
            curve = [json.loads(line) for line in (Path(work) / "bag_of_words.jsonl").read_text().splitlines()]
            net, views = model.bag_of_words.eval(), Views(Path(work) / "views", "train")
            said = shares([[tokenizer.encode(text) for text, _ in photo["captions"]] for photo in photos[:6]], model.config["vocab_size"])
            blind = losses(net, torch.logit(said.mean(0, keepdim=True).clamp(1e-5, 0.99)).expand(6, -1), said, *self.all_known(6, net))
            self.assertLess(curve[-1]["val_disagreement"], float(blind["disagreement"]) - 0.05)  # more than what all captions share
            with torch.no_grad():
                features = model.vision(views.pixels(range(8), 0).float())
                known = model.bag_of_words_logits(net.summary(features, model.compressor(features))).sigmoid()
                strange = model.bag_of_words_logits(strange).sigmoid()
            pizza, cup = tokenizer.encode(" pizza"), tokenizer.encode(" cup")
            pizza_not_cup = known[6:, pizza].log().mean(1) - known[6:, cup].log().mean(1)
            self.assertGreater(float(pizza_not_cup[0] - pizza_not_cup[1]), 0.5)  # each is known by its own label
            nothing = model.config["pad_token_id"]
            self.assertGreater(float(strange[:, nothing].mean()), 0.1)  # from 1e-5 on
            self.assertLess(float(known[:, nothing].max()), 0.5 * float(strange[:, nothing].mean()))
            # What is said of a strange picture agrees less, for padding is rare above all and in no caption.
            agree = lambda logits, tokens: net.agreement(net.wanted(torch.logit(logits[None].clamp(1e-6, 1 - 1e-6)))[0], tokens)
            tokens = tokenizer.encode(lines[0])
            self.assertGreater(agree(known[0], tokens), 1.1 * float(np.mean([agree(row, tokens) for row in strange[::4]])))


if __name__ == "__main__":
    unittest.main()
