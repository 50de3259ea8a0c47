"""Models, checkpoints and recipes with the names of before still load."""

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import torch
from bitmar import earlier
from bitmar.model import load_config
from bitmar.model.export import export_checkpoint, import_model, read_checkpoint
from bitmar.train import recipe, settings
from bitmar.train.stages import model_of
from bitmar.train.trainer import Trainer
from prepared import TINY, run_in, tiny_model, tiny_tokenizer
from safetensors.numpy import load_file, save_file

CALIBRATED = {"slope": 1.0, "similarity": 2.0, "agreement": 3.0, "offset": 4.0}


def as_before(config: dict) -> dict:
    """Its head is `words`, with `choice`"""
    head = {{"rerank_weight": "choice"}.get(key, key): value for key, value in config["bag_of_words"].items()}
    confidence = {{"agreement": "words"}.get(key, key): value for key, value in CALIBRATED.items()}
    return {**{key: value for key, value in config.items() if key != "bag_of_words"}, "words": head, "confidence": confidence}


def named_as_before(state: dict) -> dict:
    return {name.replace("bag_of_words.", "words."): value for name, value in state.items()}


class Models(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def same(self, one: dict, other: dict):
        self.assertEqual(list(one), list(other))
        self.assertEqual([name for name, value in one.items() if not torch.equal(value, other[name])], [])

    def test_an_exported_one_is_the_same_and_exported_by_todays_names(self):
        config = load_config(TINY / "config.json")
        shutil.copytree(TINY, self.folder / "before")
        (self.folder / "before/config.json").write_text(json.dumps(as_before(config)))
        tensors = load_file(TINY / "model.safetensors")
        save_file(named_as_before(tensors), self.folder / "before/model.safetensors")
        self.assertFalse(set(load_file(self.folder / "before/model.safetensors")) & {name for name in tensors if "bag_of_words" in name})
        model = import_model(self.folder / "before")
        self.same(model.state_dict(), import_model(TINY).state_dict())
        self.assertEqual(model.config, {**config, "confidence": CALIBRATED})
        export_checkpoint(self.folder / "before", TINY / "tokenizer.json", self.folder / "now")
        self.assertEqual(load_file(self.folder / "now/model.safetensors").keys(), tensors.keys())
        self.assertEqual(json.loads((self.folder / "now/config.json").read_text()), model.config)

    def test_a_checkpoint_is_started_from_mixed_and_gone_on_with(self):
        tokenizer = tiny_tokenizer(self.folder)
        model = tiny_model(3, tokenizer)
        run, learning = run_in(self.folder), settings.BagOfWords("head", steps=3, start={"bag_of_words,decoder": "before"})
        trainer = Trainer(learning, run, model, model.bag_of_words.parameters())
        trainer.update({"bce": model.bag_of_words.bias.sum()}, {"bce": 1.0})
        trainer.save()
        state = torch.load(self.folder / "head.pt")
        before = {**state, "config": as_before(state["config"]), "model": named_as_before(state["model"]), "latent": named_as_before(state["latent"])}
        self.assertNotEqual(list(before["model"]), list(state["model"]))
        torch.save(before, self.folder / "before.pt")
        read = read_checkpoint(self.folder / "before.pt")
        self.same(read["model"], state["model"])
        self.assertEqual(read["config"], {**state["config"], "confidence": CALIBRATED})

        (self.folder / "config.json").write_text(json.dumps(as_before(model.config)))
        started = model_of(settings.BagOfWords("other", start=learning.start, config=f"{self.folder}/config.json"), run, tokenizer)
        self.same(started.bag_of_words.state_dict(), {name.removeprefix("bag_of_words."): value for name, value in state["model"].items() if name.startswith("bag_of_words.")})

        torch.save(before, self.folder / "head.pt")
        again = tiny_model(4, tokenizer)
        resumed = Trainer(learning, run, again, again.bag_of_words.parameters())
        self.assertEqual(resumed.step, 1)
        self.same(again.state_dict(), model.state_dict())


class Recipes(unittest.TestCase):
    def test_stages_keep_the_names_that_others_name_them_by(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "before.toml"
            path.write_text('[config.words]\nchoice = 3.0\n'
                            '[[stage]]\ndo = "stem"\n[[stage]]\ndo = "encoder"\nstem = "stem"\n[[stage]]\ndo = "critic"\nname = "critic-0"\n[[stage]]\ndo = "critic"\n'
                            '[[stage]]\ndo = "mix"\nbegin = "critic-0"\nend = "critic"\n'
                            '[[stage]]\ndo = "words"\nstart = { "vision,captioner" = "mix", words = "shipped" }\n[[stage]]\ndo = "export"\n')
            chosen = recipe.load(str(path), ["words.steps=7"])
            self.assertEqual({name: kind for name, (kind, _) in chosen.stages.items()},
                             {"stem": "first_convolutions", "encoder": "encoder", "critic-0": "self_critical", "critic": "self_critical", "mix": "mix",
                              "words": "bag_of_words", "export": "export"})
            stages = {name: stage for name, (_, stage) in chosen.stages.items()}
            self.assertEqual(stages["encoder"].first_convolutions, "stem")
            self.assertEqual((stages["words"].start, stages["words"].steps), ({"vision,captioner": "mix", "bag_of_words": "shipped"}, 7))
            self.assertEqual(stages["export"].checkpoint, "words")
            self.assertEqual(chosen.config["bag_of_words"], {"guidance": 12.0, "rerank_weight": 3.0, "length_penalty": 0.5})

            done = recipe.Done(Path(folder))
            done.folder.mkdir()
            record = {**done.record("encoder", stages["encoder"]), "stem": "stem"}
            del record["first_convolutions"]
            (done.folder / "encoder.json").write_text(json.dumps(record))
            (done.folder / "words.json").write_text(json.dumps({**done.record("words", stages["words"]), "start": {"vision,captioner": "mix", "words": "shipped"}}))
            for name in ("encoder", "words"):
                self.assertTrue(done.has(*chosen.stages[name]))

    def test_names_of_today_stay(self):
        config = load_config(TINY / "config.json")
        self.assertEqual(earlier.config(config), config)
        self.assertEqual(earlier.stages([{"do": "export"}, {"do": "encoder", "first_convolutions": "words"}]),
                         [{"name": "export", "do": "export"}, {"name": "encoder", "do": "encoder", "first_convolutions": "words"}])


if __name__ == "__main__":
    unittest.main()
