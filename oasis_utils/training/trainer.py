"""The state of a training: model, optimisers, average of the weights and history."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from oasis_utils.config import TrainingConfig
from oasis_utils.models import checkpoints
from oasis_utils.models.trainable import Trainable
from oasis_utils.runtime import autocast, processes
from oasis_utils.training.averaging import of_joined_batch, rows_of
from oasis_utils.training.compiling import compiled, compiling_pays
from oasis_utils.training.history import Record, with_new_names
from oasis_utils.training.muon import Muon
from oasis_utils.training.schedule import share_of_peak


class Trainer:
    """The state of a training: what must be saved for it to go on as if it had never stopped.

    Of processes that train together each has one, and all have the same weights: each step is that
    of the joined batch.

    Args:
        model: on its device, in training mode.
        config: learning rate, optimiser, average of the weights.
        total_steps: of the whole training; the learning rate falls over them.
    """

    def __init__(self, model: Trainable, config: TrainingConfig, total_steps: int):
        self.model, self.config, self.total_steps = model, config, total_steps
        groups = model.parameter_groups()
        self.groups = {phase: groups[phase] for phase in model.phases}
        self.optimizers = {
            phase: optimizers_of(parameters, model.hidden_kernels(), config)
            for phase, parameters in self.groups.items()
        }
        self.average = copy.deepcopy(model).requires_grad_(False) if config.ema_decay else None
        self.device = next(model.parameters()).device
        self.model_step = (
            compiled(model.step)
            if compiling_pays(model.phases, self.device, total_steps)
            else model.step
        )
        self.steps = self.epochs = self.stale = 0
        self.best: float | None = None
        self.history: list[Record] = []

    @property
    def evaluated(self) -> Trainable:
        """The model that is validated, kept and sampled: the average where there is one."""
        return self.average if self.average is not None else self.model

    def state(self) -> list[Tensor]:
        """Weights and buffers of the model and of the average."""
        models = [self.model] if self.average is None else [self.model, self.average]
        return [value for model in models for value in model.state_dict().values()]

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of every phase.

        Args:
            batch: what `Trainable.step` of the model takes.

        Returns:
            The losses, still on the device; those of a model of several phases have the name of
            the phase as a prefix.
        """
        share = share_of_peak(self.config, self.steps, self.total_steps)
        losses: dict[str, Tensor] = {}
        for phase, parameters in self.groups.items():
            with autocast(self.device):
                found = self.model_step(batch, phase)
            for parameter in parameters:
                parameter.grad = None
            found["loss"].backward(inputs=parameters)
            found = of_joined_batch(parameters, found, rows_of(batch))
            if self.config.clip_norm:
                nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
            for optimizer in self.optimizers[phase].values():
                for group in optimizer.param_groups:
                    group["lr"] = share * optimizer.defaults["lr"]
                optimizer.step()
            prefix = "" if len(self.groups) == 1 else f"{phase}_"
            losses |= {prefix + name: value.detach() for name, value in found.items()}
        self.steps += 1
        self._follow()
        return losses

    @torch.no_grad()
    def _follow(self) -> None:
        """Exponential average of the weights, faster at the start, when there is little to
        average.
        """
        if self.average is None:
            return
        decay = min(self.config.ema_decay, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(
            list(self.average.parameters()), list(self.model.parameters()), None
        )
        for mean, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mean.copy_(value)

    def improved(self, record: Record) -> bool:
        """Whether the monitored metric of the record is the best so far; counts the others."""
        name, direction = self.model.monitor
        value = record[name]
        better = self.best is None or (
            value > self.best if direction == "max" else value < self.best
        )
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)
        return better

    # ------------------------------------------------------------ resume

    def _named_optimizers(self) -> list[tuple[str, torch.optim.Optimizer]]:
        """Each optimiser with the prefix of its tensors in a file."""
        return [
            (f"optimizer.{phase}.{name}.", optimizer)
            for phase, optimizers in self.optimizers.items()
            for name, optimizer in optimizers.items()
        ]

    def save(self, path: Path, identity: str) -> None:
        """Write all that `restore` reads. Processes that train together all call it; the first one
        writes.

        Args:
            path: of the file.
            identity: configuration hash of the training.
        """
        random = self._random_states()
        if not processes.is_first():
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | random
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for prefix, optimizer in self._named_optimizers():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{prefix}{index}.{k}": v for k, v in state.items()}
        checkpoints.save_tensors(
            path,
            tensors,
            {
                "identity": identity,
                "steps": self.steps,
                "epochs": self.epochs,
                "stale": self.stale,
                "best": self.best,
                "history": self.history,
            },
        )

    def _random_states(self) -> dict[str, Tensor]:
        """The state of torch's random numbers in each process, by the name of its tensor."""
        states = {"random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            _of_process(name, rank): state
            for name, own in states.items()
            for rank, state in enumerate(processes.gathered_rows(own[None]))
        }

    def restore(self, path: Path, identity: str, seed: int = 0) -> bool:
        """Go on from a file that a training of the same configuration left, with as many processes
        as it had, or with others.

        Args:
            path: of the file.
            identity: configuration hash of the training.
            seed: of the training; other processes than those that wrote the file are seeded anew,
                from this seed, their number and the epoch.

        Returns:
            False if there is no such file, or another training left it.
        """
        if not path.exists():
            return False
        tensors, about = checkpoints.load_tensors(path)
        if about["identity"] != identity:
            return False
        self.model.load_state_dict(_under(tensors, "model."))
        if self.average is not None:
            self.average.load_state_dict(_under(tensors, "average."))
        for prefix, optimizer in self._named_optimizers():
            parameters = optimizer.param_groups[0]["params"]
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under(tensors, prefix).items():
                index, key = name.split(".", 1)
                state.setdefault(int(index), {})[key] = _laid_out_like(
                    parameters[int(index)], tensor
                )
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for name in ("steps", "epochs", "stale", "best"):
            setattr(self, name, about[name])
        self.history = [with_new_names(record) for record in about["history"]]
        self._restore_random_states(tensors, seed)
        return True

    def _restore_random_states(self, tensors: dict[str, Tensor], seed: int) -> None:
        if sum(name.startswith("random.cpu") for name in tensors) != processes.count():
            processes.seed_own(seed, self.epochs)
            return
        cpu, cuda = (_of_process(name, processes.rank()) for name in ("random.cpu", "random.cuda"))
        torch.set_rng_state(tensors[cpu])
        if cuda in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[cuda], self.device)


def optimizers_of(
    parameters: list[nn.Parameter], kernels: list[Tensor], config: TrainingConfig
) -> dict[str, torch.optim.Optimizer]:
    """Muon for the hidden kernels, if the configuration asks for it, and AdamW for the others.

    Args:
        parameters: of one phase of a model.
        kernels: of hidden convolutions of the model, see `Trainable.hidden_kernels`.
        config: learning rates, weight decay.

    Returns:
        Optimisers by name, "adamw" and "muon".
    """
    hidden = {id(kernel) for kernel in kernels} if config.muon_rate else set()
    for_muon = [p for p in parameters if id(p) in hidden]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            [p for p in parameters if id(p) not in hidden],
            lr=config.learning_rate,
            betas=(config.betas[0], config.betas[1]),
            weight_decay=config.weight_decay,
            fused=True,
        )
    }
    if for_muon:
        optimizers["muon"] = Muon(for_muon, lr=config.muon_rate, weight_decay=config.weight_decay)
    return optimizers


def _of_process(name: str, rank: int) -> str:
    """The name of a tensor of one process; the first process has the plain one."""
    return f"{name}.{rank}" if rank else name


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor with the memory format of its parameter, as fused optimisers need it."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
