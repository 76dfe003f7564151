"""Runs functions in two processes that train together, by gloo."""

import torch
import torch.distributed as dist


def in_two(function, folder, *arguments):
    """What function(folder, *arguments) returns in each of two processes.

    It must be a function of a module, and its results such as torch.save takes.
    """
    torch.multiprocessing.spawn(_work, (function, str(folder), arguments), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _work(rank, function, folder, arguments):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = function(folder, *arguments)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
