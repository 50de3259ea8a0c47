"""What all stages that learn have in common: optimiser, schedule, weight average, checkpoints, learning curve."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import time

import numpy as np
import torch

from .. import earlier
from ..model import BitMar
from .settings import Learning, Run


def backward(losses: dict[str, torch.Tensor], weights: dict[str, float]) -> None:
    """Gradients of the sum of the losses, weighed."""
    sum(weights[name] * value for name, value in losses.items()).backward()


def seed(value: int) -> None:
    random.seed(value), np.random.seed(value % 2**32), torch.manual_seed(value)


class Trainer:
    """Optimiser, cosine schedule, weight average, checkpoints and a learning curve for one stage."""

    def __init__(self, settings: Learning, run: Run, model: BitMar, parameters, decay=0.02, optimizer=None):
        self.model, self.settings, self.run, self.processes = model, settings, run, run.processes
        self.path, self.log_path = (run.work / f"{settings.name}.{kind}" for kind in ("pt", "jsonl"))
        parameters = [p for p in parameters if p.requires_grad]
        groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
                  {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0}]
        self.parameters = parameters
        fused = {"fused": True} if str(run.device).startswith("cuda") else {}
        self.optimizer = optimizer or torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), eps=1e-8, **fused)
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.step, self.seconds, self.saved = 0, 0.0, time.time()
        self.recent: dict[str, list[torch.Tensor]] = {}  # losses since the last row of the curve
        if self.path.exists():
            state = earlier.checkpoint(torch.load(self.path, map_location=run.device))
            model.load_state_dict(state["latent"])
            self.average.load_state_dict(state["model"])
            try:
                self.optimizer.load_state_dict(state["optimizer"])
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise SystemExit(f"{self.path}: its optimiser is another one ({error}); go on with the settings and the PyTorch that it was begun with") from error
            self.step, self.seconds = state["step"], state["seconds"]
            if self.processes.first:
                print(f"resumed {self.path} at step {self.step}", flush=True)
        self.clock, self.began = time.time(), self.step

    def progress(self) -> float:
        """Share of the stage that is done: by its steps, or by the clock where it has a time instead."""
        if self.settings.seconds is None:
            return min(1.0, self.step / self.settings.steps)
        return self.processes.agreed(min(1.0, (self.seconds + time.time() - self.clock) / self.settings.seconds))

    def running(self) -> bool:
        """Whether there is a step to do. False at the end of the stage, which is saved. Saves and exits with a failure at the end of this
        run's time. What a step draws depends on its number alone: all processes draw the same, also after an interruption."""
        if self.progress() == 1:
            if self.recent:
                self.log_losses()
            if self.step > self.began:
                self.save()
            return False
        if self.processes.agreed(self.run.deadline.passed()):
            self.save()
            raise SystemExit(f"{self.path}: the time is up at step {self.step} of {self.settings.steps}; run again to go on")
        seed(self.settings.seed * 1_000_003 + self.step)
        return True

    def draw_apart(self) -> None:
        """What is drawn from here to the end of the step (dropout, samples) is each process's own."""
        if self.processes.count > 1:
            torch.manual_seed((self.settings.seed * 1_000_003 + self.step) * self.processes.count + self.processes.rank)

    def update(self, losses: dict[str, torch.Tensor], weights: dict[str, float]) -> None:
        """A step by the sum of the losses, weighed."""
        self.optimizer.zero_grad(set_to_none=True)
        backward(losses, weights)
        self.advance(losses)

    def advance(self, losses: dict[str, torch.Tensor]) -> None:
        """A step by the gradients that the parameters have; the losses are for the curve."""
        warm = min(1.0, (self.step + 1) / 100)
        rate = self.settings.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress())))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.processes.average_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(0.998, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep) \
                if hasattr(torch, "_foreach_lerp_") else [
                    a.lerp_(p, 1 - keep) for a, p in zip(self.average.parameters(), self.model.parameters())]
        for name, value in losses.items():
            self.recent.setdefault(name, []).append(value.detach().clone())  # a number would wait for the GPU
        if self.step % 50 == 0:
            self.log_losses()
        if time.time() - self.saved > 180:
            self.save()

    def log_losses(self) -> None:
        """Means since the last row"""
        means = self.processes.mean_of_rows({name: float(torch.stack(values).mean()) for name, values in self.recent.items()})
        self.log({name: round(value, 4) for name, value in means.items()})
        self.recent = {}

    def log(self, row: dict) -> None:
        self.count_time()
        if not self.processes.first:
            return
        row = {"step": self.step, "seconds": round(self.seconds), **row}
        print(json.dumps(row), flush=True)
        with self.log_path.open("a") as out:
            out.write(json.dumps(row) + "\n")

    def count_time(self) -> None:
        self.seconds, self.clock = self.seconds + time.time() - self.clock, time.time()

    def save(self) -> None:
        self.count_time()
        self.saved = time.time()
        if not self.processes.first:
            return
        temporary = self.path.with_suffix(".tmp")
        torch.save({"config": self.model.config, "ternary": self.settings.ternary, "bits": self.settings.bits, "model": self.average.state_dict(), "latent": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds}, temporary)
        os.replace(temporary, self.path)


class Replay:
    """Losses and gradients of a step, recorded once as a CUDA graph: a step is thousands of kernels, which take longer to
    start than to run. Inputs keep their shapes; they may come from the CPU."""

    def __init__(self, optimizer, step, inputs: list[torch.Tensor], device):
        """step: from inputs to losses, after their gradients"""
        self.inputs = [value.to(device) for value in inputs]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is done once, such as the choice of algorithms, is not to be recorded
            for _ in range(3):
                optimizer.zero_grad(set_to_none=True)
                step(*self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.losses = step(*self.inputs)

    def __call__(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        for mine, given in zip(self.inputs, inputs):
            mine.copy_(given)
        self.graph.replay()
        return self.losses
