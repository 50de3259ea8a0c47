"""Several processes that train one model together, as torchrun starts them.

All of them draw the same batch, for they draw from the same seeds; each computes with its own part of it; gradients are averaged. Losses are
weighed so that their average over the processes is what one process makes of the whole batch.

torch.nn.parallel.DistributedDataParallel averages gradients too, but around one module's forward(). The losses here call many parts of the
model, and the encoder's step may be a CUDA graph, which holds no hooks. The gradients of 14 M weights are 56 MB: one reduction after the
backward pass is enough.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

PATIENCE = timedelta(days=7)  # a stage that only the first process does may take long


class _Gather(torch.autograd.Function):
    """Rows [n, ...] of each process, one after another. What every process makes of a row adds to its gradient."""

    @staticmethod
    def forward(ctx, rows):
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad):
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad[dist.get_rank() * ctx.count:][:ctx.count]


@dataclass(frozen=True)
class Processes:
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def part(self, items: int) -> slice:
        """Of so many items, those of this process."""
        return slice(items * self.rank // self.count, items * (self.rank + 1) // self.count)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, ...] of every process, as many each, one after another; gradients go back to where rows came from."""
        return _Gather.apply(rows) if self.count > 1 else rows

    def agreed(self, value: float) -> float:
        """The first process's value: clocks differ."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.double, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def weight(self, items) -> torch.Tensor | float:
        """Of a mean over so many items of this process, so that each item of all processes weighs the same."""
        if self.count == 1:
            return 1.0
        total = torch.as_tensor(items, dtype=torch.float32, device=self.device).clone()
        own = total.clone()
        dist.all_reduce(total)
        return own * self.count / total.clamp_min(1)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Of a number over the processes; nothing is learned through it."""
        if self.count == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.count

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Parameters that no process has a gradient of stay without one."""
        if self.count == 1:
            return
        have = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        flat = torch.cat([have, *((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters)])
        dist.all_reduce(flat)
        have, *grads = (flat / self.count).split([len(parameters), *(p.numel() for p in parameters)])
        for parameter, grad, someone in zip(parameters, grads, have.tolist()):
            if someone:
                # In place where there is one: a CUDA graph goes on writing to the same memory.
                parameter.grad = grad.view_as(parameter) if parameter.grad is None else parameter.grad.copy_(grad.view_as(parameter))

    def mean_of_rows(self, row: dict[str, float]) -> dict[str, float]:
        """Of each name over the processes that have it."""
        if self.count == 1:
            return row
        rows: list[dict[str, float]] = [{} for _ in range(self.count)]
        dist.all_gather_object(rows, row)
        names = dict.fromkeys(name for each in rows for name in each)
        return {name: sum(each[name] for each in rows if name in each) / sum(name in each for each in rows) for name in names}

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            dist.barrier()

    def end(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()

    @property
    def device(self) -> str:
        return "cuda" if dist.get_backend() == "nccl" else "cpu"


ALONE = Processes()


def of_torchrun(device: str) -> Processes:
    """As the environment says, which torchrun sets; one process without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return ALONE
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), count)
