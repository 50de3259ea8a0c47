"""Packing photos into views, views added later, and every stage of training on a few of them."""

import contextlib
import io
import itertools
import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from bitmar.data import tokenizer, views
from bitmar.data.dataset import ResidentViews, Views, nearest_photos
from bitmar.model import BitMar, load_config
from bitmar.model.bitmar import FIRST_LAYERS
from bitmar.model.quant import computing, fast_products
from bitmar.train import recipe, see, stages, trainer
from bitmar.train.captioning import NAMED_REWARD, SelfCritical
from bitmar.train.settings import CAPTIONER, Run
from PIL import Image
from prepared import encoded, noise, prepared, run, small_config, write_tar


class Teacher(torch.nn.Module):
    """Two grids that are the picture itself, coarser."""

    image_size = 32

    def __init__(self, cache, weights=None):
        super().__init__()

    def forward(self, images):
        pool = torch.nn.functional.adaptive_avg_pool2d
        return [pool(images, 8).repeat(1, 300, 1, 1), pool(images, 4)]


class Photos(unittest.TestCase):
    """A few pictures of noise with captions, packed by a teacher that is no network."""

    PHOTOS, STUDENT, WIDTH = 5, 16, 8
    CAPTIONS = ["a dog", "a dog runs", "a dog runs on grass", "the dog is on the grass", "a dog on grass"]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.pictures = [noise(i) for i in range(self.PHOTOS)]
        source = self.folder / "source"
        source.mkdir()
        names = [f"{i}.png" for i in range(self.PHOTOS + 2)]  # the last two are for validation
        write_tar(source / "images.tar", {name: encoded(noise(i)) for i, name in enumerate(names)})
        rows = [{"image": name, "captions": self.CAPTIONS} for name in names[:-2]]
        held = [{"image": name, "captions": [f"{caption} today" for caption in self.CAPTIONS]} for name in names[-2:]]
        (source / "captions.json").write_text(json.dumps({"train": rows, "val": held}))
        self.data = self.folder / "data"
        prepared(source, self.data)

    def pack(self, *more):
        with mock.patch.dict(views.TEACHERS, fake=Teacher), mock.patch.object(views, "WIDTH", self.WIDTH), \
                mock.patch.object(views, "STUDENT", self.STUDENT):
            run(views, "--data", self.data, "--out", self.folder / "views", "--teacher", "fake", *more)


class Packing(Photos):
    def test_whole_mirrored_and_later_views(self):
        self.pack("--views", 2)
        seen = Views(self.folder / "views", "train")
        self.assertEqual((len(seen), seen.count, seen.size), (self.PHOTOS, 4, 16))
        for i, picture in enumerate(self.pictures):
            wanted = np.asarray(picture.resize((16, 16), Image.BILINEAR)).transpose(2, 0, 1)
            self.assertTrue(np.array_equal(seen.pixels([i], 0)[0].numpy(), wanted))
            self.assertTrue(np.array_equal(seen.pixels([i], 1)[0].numpy(), wanted[..., ::-1]))
        before = seen.pixels(range(self.PHOTOS), 2)
        self.pack("--views", 3)
        self.assertEqual(seen.count, 4)
        seen.look()
        self.assertEqual(seen.count, 6)
        self.assertTrue(torch.equal(seen.pixels(range(self.PHOTOS), 2), before))
        mixed = seen.grids([4, 0, 2], [0, 4, 3], 6)
        self.assertEqual(mixed.shape, (3, 64, 6))
        for row, (photo, view) in zip(mixed, [(4, 0), (0, 4), (2, 3)]):
            packed = np.fromfile(self.folder / "views" / "train" / str(view // 2) / "grids.f16", np.float16)
            grid = packed.reshape(self.PHOTOS, 8, 8, self.WIDTH)[photo, :, :, :6]
            self.assertTrue(np.array_equal(row.numpy(), (grid[:, ::-1] if view % 2 else grid).reshape(64, 6)))
        self.assertEqual(nearest_photos(seen, np.arange(self.PHOTOS), 2).shape, (self.PHOTOS, 2))

    def test_resident_views_are_the_same(self):
        self.pack("--views", 2)
        here, resident = Views(self.folder / "views", "train"), ResidentViews(self.folder / "views", "train", 6, "cpu")
        self.pack("--views", 4)  # these two are taken up by the next look
        for count in (4, 8):
            self.assertEqual((resident.count, len(resident)), (count, self.PHOTOS))
            rows, view = (grid.flatten() for grid in np.meshgrid(range(self.PHOTOS), range(count)))
            for wanted, found in ((here.pixels(rows, view), resident.pixels(rows, view)),
                                  (here.grids(rows, view, 6), resident.grids(rows, view, 6)),
                                  (here.grids(rows[:5], 3, 4), resident.grids(rows[:5], 3, 4))):
                self.assertEqual(wanted.dtype, found.dtype)
                self.assertTrue(torch.equal(wanted, found))
            here.look(), resident.look()

    def test_grids_have_their_shares_of_the_variance(self):
        rng = np.random.default_rng(0)
        grids = [torch.from_numpy(rng.normal(size=(500, n)) * scale).float() for n, scale in ((4, 100.0), (6, 0.01))]
        with mock.patch.object(views, "WIDTH", 10):
            for shares, wanted in ((None, (1.0, 1.0)), ([3.0, 0.5], (3.0, 0.5))):
                found = views.principal_components(grids, shares)
                variance = [float((g * k).var(0).sum()) for g, k in zip(grids, found["scales"])]
                self.assertTrue(np.allclose(variance, wanted, rtol=1e-4))
                self.assertAlmostEqual(found["kept"], 1.0, places=5)
                projected = views.project(grids, found)
                covariance = projected.T @ projected / len(projected)
                self.assertTrue(np.all(np.diff(covariance.diag()) < 0))
                self.assertLess(float((covariance - covariance.diag().diag()).abs().max()), 1e-3)
                self.assertAlmostEqual(float(projected.pow(2).mean()), 1.0, places=4)

    def made_projection(self, samples=400):
        """Of two grids of 4 and 6 features, all 10 components kept"""
        torch.manual_seed(3)
        grids = [torch.randn(samples, 8, n) * scale + 1 for n, scale in ((4, 5.0), (6, 0.3))]
        with mock.patch.object(views, "WIDTH", 10):
            return grids, views.principal_components([g.flatten(0, 1) for g in grids])

    def test_aligned_components_are_turned_to_the_students(self):
        grids, projection = self.made_projection()
        before = views.project(grids, projection)
        turn = torch.linalg.qr(torch.randn(3, 3))[0]
        mine = before[..., :3] @ turn + 0.01 * torch.randn(400, 8, 3)
        rotation = views.align(projection, mine, before)
        self.assertLess(float((rotation - turn).abs().max()), 0.01)
        self.assertLess(float((rotation @ rotation.T - torch.eye(3)).abs().max()), 1e-5)
        after = views.project(grids, projection)
        self.assertLess(float((after[..., :3] - before[..., :3] @ turn).abs().max()), 0.1)
        self.assertTrue(torch.allclose(after[..., 3:], before[..., 3:], atol=1e-5))

    @torch.no_grad()
    def test_a_teachers_kinds_are_told_by_the_mean_of_the_projected_grid(self):
        grids, projection = self.made_projection()
        classifier = torch.nn.Linear(6, 5)
        wanted = classifier(grids[1].mean(1))
        for turned in (False, True):
            if turned:
                seen = views.project(grids, projection)
                views.align(projection, seen[..., :4] @ torch.linalg.qr(torch.randn(4, 4))[0], seen)
            weight, bias = views.kinds_map(projection, classifier, 10)
            got = views.project(grids, projection).mean(1) @ weight + bias
            self.assertTrue(torch.allclose(got, wanted, atol=1e-4))
        error = [float((views.project(grids, projection).mean(1)[:, :n] @ weight + bias - wanted).square().mean())
                 for n in (2, 6, 10) for weight, bias in [views.kinds_map(projection, classifier, n)]]
        self.assertTrue(error[0] > error[1] > error[2] >= 0, error)

    def test_a_mixed_view_is_one_photo_laid_over_another(self):
        self.pack("--views", 1, "--mixed", 2)
        mixed = Views(self.folder / "views", "mixed")
        self.assertEqual((len(mixed), mixed.count), (self.PHOTOS, 4))
        for view in range(2):
            for row in range(self.PHOTOS):
                over, share = views.mixture(row, view, self.PHOTOS)
                self.assertTrue(0 <= over < self.PHOTOS and 0.2 <= share <= 0.8)
                crops = [np.asarray(self.pictures[i].resize((16, 16), Image.BILINEAR, box=views.view_boxes(
                    48, 40, view + 2, np.random.default_rng(i))[-1])) for i in (row, over)]
                wanted = (share * crops[0] + (1 - share) * crops[1]).transpose(2, 0, 1)
                self.assertLess(np.abs(mixed.pixels([row], 2 * view)[0].numpy() - wanted).max(), 0.51)
        self.assertTrue(mixed.grids(range(self.PHOTOS), 0).float().std() > 0)
        self.assertEqual(views.views_to_pack(2, 1), [("val", 0), ("train", 0), ("mixed", 0), ("train", 1)])

    def test_half_a_view_is_none(self):
        self.pack("--views", 2, "--shard", "0/2")
        with self.assertRaisesRegex(SystemExit, "no finished view"):
            Views(self.folder / "views", "train")
        self.pack("--views", 2, "--shard", "1/2")
        self.assertEqual(Views(self.folder / "views", "train").count, 4)


class Stages(Photos):
    """A model of the default's kind that is small enough to train for a step."""

    PHOTOS, STUDENT, WIDTH = 16, 64, 24
    ALL = "vision,captioner"

    def setUp(self):
        super().setUp()
        run(tokenizer, "--out", self.folder / "tokenizer.json", "--size", 300, self.data)
        config = small_config(tokenizer.Tokenizer(self.folder / "tokenizer.json"))
        (self.folder / "config.json").write_text(json.dumps(config))
        torch.manual_seed(0)
        torch.save({"stem": BitMar(config).vision.stem[:FIRST_LAYERS].state_dict()}, self.folder / "first_convolutions.pt")

    def train(self, kind, **more) -> list[dict]:
        """Two steps; what the stage wrote down of itself."""
        (self.data / "text.txt").write_text("a dog on the grass\n" * 3)
        stage = recipe.stage_of(kind, {"steps": 2, "batch": 8, **more}, "test")
        wrote = self.folder / f"{stage.name}.jsonl"
        with contextlib.redirect_stdout(io.StringIO()):
            stages.do(kind, stage, Run(self.data, self.folder, load_config(self.folder / "config.json")))
        return [json.loads(line) for line in wrote.read_text().splitlines()] if wrote.exists() else []

    def test_each_starts_where_the_last_one_ended(self):
        self.pack("--views", 3)
        self.train("language", text=True)
        self.train("encoder", first_convolutions="first_convolutions")
        self.train("caption", text=True, start={"decoder,embedding": "language"})
        self.train("caption", name="tutor", components=24, seed=1)
        tutors = ["tutor", "caption"]
        joint = self.train("joint", tutors=tutors, start={"vision": "encoder", "captioner": "caption"})
        rewarded = self.train("self_critical", tutors=tutors, start={self.ALL: "joint"})
        for curve in (joint, rewarded):
            self.assertEqual(curve[-1]["step"], 2)
            self.assertTrue(np.isfinite(curve[-1]["val_lm"]), curve)
        start, end = (torch.load(self.folder / f"{name}.pt")["model"] for name in ("joint", "self_critical"))
        for part in CAPTIONER:  # all of them learn from the reward or beside it
            self.assertTrue(any(not torch.equal(start[k], end[k]) for k in start if k.startswith(part)), part)
        fixed = [k for k in start if k.startswith("vision.stem.0")]
        self.assertTrue(fixed and all(torch.equal(start[k], end[k]) for k in fixed))

    def test_what_a_captioner_makes_of_the_grid_counts(self):
        self.pack("--views", 1)
        self.train("caption")
        learned = []
        for name, options in (("plain", {}), ("through", {"through": "caption"})):
            self.train("encoder", name=name, **options)
            learned.append(torch.load(self.folder / f"{name}.pt")["latent"])
        self.assertFalse(torch.equal(*(weights["vision.feature_proj.weight"] for weights in learned)))

    def test_mixed_views_and_every_convolution_learn(self):
        self.pack("--views", 1, "--mixed", 1)
        self.train("caption")
        runs = {"plain": ("encoder", {}), "mixed": ("encoder", {"mixed": 0.5}), "joint": ("joint", {}), "self_critical": ("self_critical", {})}
        learned = {"start": torch.load(self.folder / "caption.pt")["latent"]}
        for name, (stage, more) in runs.items():
            self.train(stage, name=name, whole=True, **more, start={self.ALL: "caption"})
            learned[name] = torch.load(self.folder / f"{name}.pt")["latent"]["vision.stem.0.weight"]
            self.assertFalse(torch.equal(learned[name], learned["start"]["vision.stem.0.weight"]), name)
        self.assertFalse(torch.equal(learned["plain"], learned["mixed"]))

    def test_a_stage_of_so_many_seconds_lasts_so_long_and_anneals(self):
        self.pack("--views", 1)
        rates = []
        advance = trainer.Trainer.advance

        def watched(own, losses):
            advance(own, losses)
            rates.append(own.optimizer.param_groups[0]["lr"] / min(1, own.step / 100))

        # A clock that goes on by a twentieth of a second whenever it is read: how busy the machine is does not matter.
        clock = mock.patch.object(trainer.time, "time", side_effect=itertools.count(0, 0.05))
        with mock.patch.object(trainer.Trainer, "advance", watched), clock:
            self.train("caption", seconds=1.5)
        self.assertGreater(len(rates), 2)  # more than its --steps
        self.assertEqual(rates, sorted(rates, reverse=True))
        self.assertLess(rates[-1], rates[0] / 2)
        seconds = torch.load(self.folder / "caption.pt")["seconds"]
        self.assertTrue(seconds < 30, seconds)
        before = len(rates)
        with mock.patch.object(trainer.Trainer, "advance", watched):
            self.train("caption", seconds=1.5)  # has had its time
        self.assertEqual(len(rates), before)

    def test_in_float_a_ternary_model_starts_as_what_it_computes(self):
        self.pack("--views", 1)
        self.train("caption")
        self.train("caption", name="float", ternary=False, rate=1e-9, start={"captioner": "caption"})
        ternary, floats = (torch.load(self.folder / f"{name}.pt") for name in ("caption", "float"))
        self.assertEqual((ternary["ternary"], floats["ternary"]), (True, False))
        weight = floats["latent"]["decoder.layers.0.attention.q_proj.weight"]
        self.assertEqual(len((weight.abs() * 1e5).round().unique()), 2)  # 0 and gamma
        self.train("caption", name="again", ternary=False, rate=1e-3, start={"captioner": "float"})
        self.train("caption", name="kept", ternary=False, rate=1e-9, start={"captioner": "again"})
        again, kept = (torch.load(self.folder / f"{name}.pt")["latent" if name == "kept" else "model"] for name in ("again", "kept"))
        name = "decoder.layers.0.attention.q_proj.weight"
        self.assertTrue(torch.allclose(again[name], kept[name], atol=1e-7))

    def test_recall_teaches_what_the_memory_is_searched_by_and_nothing_else(self):
        self.pack("--views", 2)
        self.train("caption")
        curve = self.train("recall", steps=100, rate=1e-2, batch=16, start={self.ALL: "caption"})
        learned = [row["infonce"] for row in curve if "infonce" in row]
        self.assertLess(learned[-1], learned[0])
        self.assertTrue(0 <= curve[-1]["val_text_to_image"] <= 1 and 0 <= curve[-1]["val_image_to_text"] <= 1)
        before, after = (torch.load(self.folder / f"{name}.pt")["model"] for name in ("caption", "recall"))
        self.assertEqual([k for k in before if not torch.equal(before[k], after[k])], ["memory.query_proj.weight"])

    @torch.no_grad()
    def test_what_an_encoder_sees_is_packed_like_views(self):
        self.pack("--views", 2)
        with torch.enable_grad():
            self.train("encoder")
        for shard in (0, 1):
            run(see, "--checkpoint", self.folder / "encoder.pt", "--views", self.folder / "views", "--out", self.folder / "seen", "--views-each", 2, "--shard", f"{shard}/2")
        state = torch.load(self.folder / "encoder.pt")
        model = BitMar(state["config"]).eval()
        model.load_state_dict(state["model"])
        for split, count in (("train", 8), ("val", 2)):
            packed, seen = Views(self.folder / "views", split), Views(self.folder / "seen", split)
            self.assertEqual((len(seen), seen.count), (len(packed), count))
            rows = np.arange(len(packed))
            for view in range(count):
                pixels = packed.pixels(rows, view // 4 * 2 + view % 2)  # two folders, the picture's and its mirror image's, of one packed
                self.assertTrue(torch.equal(seen.pixels(rows, view), pixels))
                # What a mirror image's folder holds is mirrored back: it is read as view 2 k + 1.
                if view % 4 in (0, 3):
                    with computing(model, products=fast_products("cpu")):  # as it is seen
                        wanted = model.vision(pixels.float())
                    # Kept maps of the first convolutions are rounded to int8.
                    error = seen.grids(rows, view).float() - wanted
                    self.assertLess(float(error.abs().mean()), 0.02 * float(wanted.abs().mean()))
                    self.assertLess(float(error.abs().max()), 0.05 * float(wanted.abs().max()))

    def test_without_mirror_images_a_grid_stands_for_its_own(self):
        self.pack("--views", 2)
        self.train("encoder")
        for out, more in (("both", []), ("once", ["--no-mirrored"])):
            run(see, "--checkpoint", self.folder / "encoder.pt", "--views", self.folder / "views", "--out", self.folder / out, "--views-each", 2, *more)
        both, once = (Views(self.folder / out, "train") for out in ("both", "once"))
        self.assertEqual((both.count, once.count), (8, 4))
        rows = np.arange(len(once))
        for folder in (0, 1):  # as packed; of both, a picture's has the even number
            self.assertTrue(torch.equal(once.pixels(rows, 2 * folder), both.pixels(rows, 4 * folder)))
            self.assertTrue(torch.equal(once.grids(rows, 2 * folder), both.grids(rows, 4 * folder)))

    def test_questions_whose_pictures_are_not_here_are_learned(self):
        self.pack("--views", 1)
        asked = [{"question": "what is on the grass", "answer": "a dog", "type": "object"}, {"question": "who is this?", "answer": "tom", "type": ""}] * 8
        (self.data / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in asked))
        curve = self.train("caption", steps=100, rate=1e-2)
        unseen = [row["unseen"] for row in curve if "unseen" in row]
        self.assertLess(unseen[1], 0.7 * unseen[0])

    def test_naming_a_label_is_rewarded_where_nobody_described_the_photo(self):
        self.pack("--views", 1)
        self.train("caption")
        rows = [json.loads(line) for line in (self.data / "photos.jsonl").read_text().splitlines()]
        rows[0] |= {"captions": [], "labels": ["mobile phone"]}
        rows[1] |= {"captions": [["a kite flies high", "human"]] * 3, "labels": ["mobile phone"]}
        (self.data / "photos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        made = []
        with mock.patch.object(SelfCritical, "run", lambda self, *rest: made.append(self)):
            self.train("self_critical", on_grid=True, start={self.ALL: "caption"})
        stage, = made
        self.assertEqual([stage.reward(0, caption) for caption in ("a hand holds a phone", "a dog")], [NAMED_REWARD, 0])
        self.assertEqual(stage.reward(1, "a phone"), 0)
        self.assertGreater(stage.reward(1, "a kite flies"), 0)
        self.assertIn(0, stage.photos)
        losses = stage.losses()
        self.assertIn("named", losses)

    def test_reward_on_the_grid_leaves_the_encoder_alone(self):
        self.pack("--views", 1)
        self.train("caption")
        self.train("self_critical", on_grid=True, start={self.ALL: "caption"})
        start, end = (torch.load(self.folder / f"{name}.pt")["latent"] for name in ("caption", "self_critical"))
        changed = {k.split(".")[0] for k in start if not torch.equal(start[k], end[k])}
        self.assertIn("decoder", changed)
        self.assertNotIn("vision", changed)


if __name__ == "__main__":
    unittest.main()
