"""The training loop: averages of weights, history, best checkpoint, resume; it knows no model.

A model brings `version`, `phases`, `parameter_groups()`, `step(batch, phase)`, `validate(batches)`
and `monitor`; the loss is part of the paper, the loop is not. The version of its code is raised
when the same training would give other weights: then finished checkpoints are trained anew.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from oasis_utils.config import TrainingConfig, digest, to_dict
from oasis_utils.data.batches import Batches
from oasis_utils.models import checkpoints
from oasis_utils.runtime import Progress, RunFolder, autocast, exclusive, provenance
from oasis_utils.training.checks import ORIGIN, check_finite, first_bad_step
from oasis_utils.training.compiling import compiled, compiling_pays
from oasis_utils.training.history import Record, read_history, write_history
from oasis_utils.training.history import Snapshots as Snapshots
from oasis_utils.training.history import best_record as best_record
from oasis_utils.training.schedule import is_milestone, learning_rate, validation_is_due

LOOK_EVERY = 20  # steps between looks at the losses: each look waits for the GPU


def configuration_hash(
    model: nn.Module, config: TrainingConfig, seed: int, inputs: dict[str, str]
) -> str:
    """Digest of everything that a trained model depends on: class and version of its code, both
    configurations, seed, identities of its inputs. A finished checkpoint of the same digest need
    not be trained again.
    """
    return digest(
        {
            "kind": type(model).__name__,
            "version": model.version,
            "config": to_dict(model.config),
            "training": to_dict(config),
            "seed": seed,
            "inputs": inputs,
        }
    )


class Trainer:
    """The state of a training: what must be saved for it to go on as if it had never stopped."""

    def __init__(self, model: nn.Module, config: TrainingConfig, total_steps: int):
        self.model, self.config, self.total_steps = model, config, total_steps
        groups = model.parameter_groups()
        self.groups = {phase: groups[phase] for phase in model.phases}
        self.optimizers = {
            phase: torch.optim.AdamW(
                parameters,
                lr=config.learning_rate,
                betas=config.betas,
                weight_decay=config.weight_decay,
                fused=True,
            )
            for phase, parameters in self.groups.items()
        }
        self.average = copy.deepcopy(model).requires_grad_(False) if config.ema_decay else None
        self.device = next(model.parameters()).device
        self.model_step = (
            compiled(model.step) if compiling_pays(model, self.device, total_steps) else model.step
        )
        self.steps = self.epochs = self.stale = 0
        self.best: float | None = None
        self.history: list[Record] = []

    @property
    def evaluated(self) -> nn.Module:
        """The model that is validated, kept and sampled: the average where there is one."""
        return self.average if self.average is not None else self.model

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of every phase; returns the losses, still on the device."""
        rate, losses = learning_rate(self.config, self.steps, self.total_steps), {}
        for phase, parameters in self.groups.items():
            optimizer = self.optimizers[phase]
            for group in optimizer.param_groups:
                group["lr"] = rate
            with autocast(self.device):
                found = self.model_step(batch, phase)
            optimizer.zero_grad(set_to_none=True)
            found["loss"].backward(inputs=parameters)
            if self.config.clip_norm:
                nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)
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
        name, direction = self.model.monitor
        value = record[name]
        better = self.best is None or (
            value > self.best if direction == "max" else value < self.best
        )
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)
        return better

    # ------------------------------------------------------------ resume

    def save(self, path: Path, identity: str) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for phase, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{phase}.{index}.{k}": v for k, v in state.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
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

    def restore(self, path: Path, identity: str) -> bool:
        """Go on from `path` if a training of the same configuration left it; False if there is
        nothing to go on from.
        """
        if not path.exists():
            return False
        tensors, about = checkpoints.load_tensors(path)
        if about["identity"] != identity:
            return False
        self.model.load_state_dict(_under(tensors, "model."))
        if self.average is not None:
            self.average.load_state_dict(_under(tensors, "average."))
        for phase, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under(tensors, f"optimizer.{phase}.").items():
                index, key = name.split(".", 1)
                state.setdefault(int(index), {})[key] = _laid_out_like(
                    self.groups[phase][int(index)], tensor
                )
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        for name in ("steps", "epochs", "stale", "best", "history"):
            setattr(self, name, about[name])
        return True


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor with the memory format of its parameter: fused optimisers pair numbers by their
    place in memory.
    """
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def fit(
    model: nn.Module,
    train: Batches,
    held_out: Batches,
    config: TrainingConfig,
    run: RunFolder,
    name: str,
    seed: int = 0,
    inputs: dict[str, str] | None = None,
    on_epoch: Callable[[nn.Module, Record], None] | None = None,
    on_stage: Callable[[nn.Module, int], None] | None = None,
) -> tuple[nn.Module, list[Record]]:
    """Load a finished model, or train it and keep the best one; prints which of the two happened.

    A finished checkpoint of the same configuration, data and seed is loaded; an unfinished training
    goes on after its last whole epoch. Ctrl-C and other stops leave the best model so far and a
    place to go on from. Validations before the end of the first epoch are for the curves only: a
    model is kept as the best only after it has seen every training sample.

    Args:
        model: with `version`, `phases`, `parameter_groups`, `step`, `validate` and `monitor`.
        train: batches of the training split.
        held_out: batches of the validation split.
        config: epochs, learning rate, averages of weights, patience.
        run: folder that receives the checkpoint and the history.
        name: of both files.
        seed: the one that `runtime.banner` was given; part of the configuration hash.
        inputs: identities of what the batches come from.
        on_epoch: called as on_epoch(model, record) after each validation, for pictures.
        on_stage: called as on_stage(model, steps) before the first step, after steps 16, 64, 256
            and so on, and after the last step with the model of that step, which need not be the
            best.

    Returns:
        (best model in evaluation mode, history). The history has a record for each epoch, and with
        `validate_every_steps` one for step 0 and for each validation within an epoch: the epoch,
        the steps so far, the mean losses since the record before, and the metrics of the held-out
        split; "improved" marks the records of models that were kept.

    Raises:
        FloatingPointError: a loss is no longer finite; the last good checkpoint stays.
        MemoryError: the batch does not fit into memory.
        FolderInUse: another process trains the same.
    """
    device = next(model.parameters()).device
    path, identity = run.checkpoint(name), configuration_hash(model, config, seed, inputs or {})
    if path.exists():
        about = checkpoints.read_about(path)
        if about.get("recipe") == identity and about.get("complete"):
            print(f"loaded {path.name}: trained before with this configuration, data and seed")
            return checkpoints.load_model(path, type(model), device)[0], read_history(
                run.history(name)
            )
    trainer = Trainer(model, config, config.epochs * len(train))
    resume = path.with_suffix(".resume.safetensors")
    if trainer.restore(resume, identity):
        print(f"going on with {name} after epoch {trainer.epochs} of {config.epochs}")
    about = {
        "recipe": identity,
        "training": to_dict(config),
        "inputs": inputs or {},
        "provenance": provenance(seed, device),
    }
    with (
        exclusive(path.with_name(f".{name}.lock"), path),
        _explained(trainer, path, train.batch_size),
        Progress(f"training {name}", trainer.total_steps) as progress,
    ):
        _validate_start(trainer, held_out)
        while trainer.epochs < config.epochs and not _out_of_patience(trainer):
            for record in _epoch(trainer, train, progress, on_stage):
                ended = trainer.steps == (trainer.epochs + 1) * len(train)
                if validation_is_due(config, record, ended):
                    record |= _validate(trainer, held_out)
                    check_finite(trainer.model, record, trainer.steps)
                    if (ended or trainer.epochs > 0) and trainer.improved(record):
                        record["improved"] = True
                        checkpoints.save_model(
                            path, trainer.evaluated, **about, metrics=record, complete=False
                        )
                    progress.update(trainer.steps, _note(trainer, record))
                    if on_epoch:
                        with torch.no_grad():
                            on_epoch(trainer.evaluated.eval(), record)
                trainer.history.append(record)
                write_history(run.history(name), trainer.history)
                if ended:
                    trainer.epochs += 1
                    trainer.save(resume, identity)
                elif _out_of_patience(trainer):
                    break
        if on_stage:
            on_stage(trainer.evaluated.eval(), trainer.steps)
    best, saved = checkpoints.load_model(path, type(model), device)
    checkpoints.save_model(path, best, **about, metrics=saved["metrics"], complete=True)
    resume.unlink(missing_ok=True)
    print(_summary(name, trainer, saved["metrics"]))
    return best, trainer.history


@contextlib.contextmanager
def _explained(trainer: Trainer, path: Path, batch_size: int):
    """Says what an interrupted training leaves, and turns an exhausted memory into advice."""
    try:
        yield
    except KeyboardInterrupt:
        kept = (
            "nothing is kept yet"
            if trainer.best is None
            else (
                f"the best model so far, {trainer.model.monitor[0]} {trainer.best:.4f}, is in"
                f" {path.name} and can be used"
            )
        )
        print(
            f"stopped in epoch {trainer.epochs + 1} of {trainer.config.epochs}: {kept}; "
            f"run this again to go on after epoch {trainer.epochs}"
        )
        raise
    # torch.OutOfMemoryError on a GPU, a plain RuntimeError on the CPU
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise MemoryError(
            f"out of memory at step {trainer.steps + 1} with batch_size={batch_size}: "
            f"try batch_size={max(batch_size // 2, 1)}"
        ) from None


def _out_of_patience(trainer: Trainer) -> bool:
    return bool(trainer.config.patience) and trainer.stale >= trainer.config.patience


def _validate_start(trainer: Trainer, held_out: Batches) -> None:
    """Step 0 of the curves, before anything is learned."""
    if trainer.config.validate_every_steps and trainer.steps == 0:
        trainer.history = [{"epoch": 0, "steps": 0, "seconds": 0.0, **_validate(trainer, held_out)}]


def _epoch(trainer: Trainer, train: Batches, progress: Progress, on_stage=None) -> Iterator[Record]:
    """One pass over the training split. Yields the means of the losses since the record before:
    wherever a validation within the epoch is due, and at its end.
    """
    every, start = trainer.config.validate_every_steps, time.monotonic()
    sums, count, recent = {}, 0, []
    trainer.model.train()
    for done, batch in enumerate(train.epoch(trainer.epochs), start=1):
        if on_stage and is_milestone(trainer.steps):
            on_stage(trainer.evaluated.eval(), trainer.steps)
            trainer.model.train()
        losses = trainer.step(batch)
        sums, count = {key: sums.get(key, 0) + value for key, value in losses.items()}, count + 1
        recent.append((trainer.steps, losses, {key: batch[key] for key in ORIGIN if key in batch}))
        due = done == len(train) or (every > 0 and trainer.steps % every == 0)
        if due or done % LOOK_EVERY == 0:
            means = {key: float(value) / count for key, value in sums.items()}
            if not all(math.isfinite(value) for value in means.values()):
                raise FloatingPointError(first_bad_step(recent))
            recent.clear()
            progress.update(trainer.steps, _note(trainer, means))
        if due:
            yield {
                "epoch": trainer.epochs + 1,
                "steps": trainer.steps,
                "seconds": time.monotonic() - start,
                **means,
            }
            trainer.model.train()
            start, sums, count = time.monotonic(), {}, 0


def _note(trainer: Trainer, means: Record) -> str:
    key = "loss" if "loss" in means else next(name for name in means if name.endswith("loss"))
    best = "" if trainer.best is None else f" · best {trainer.model.monitor[0]} {trainer.best:.3f}"
    return f"epoch {trainer.epochs + 1} · {key} {means[key]:.3f}{best}"


@torch.no_grad()
def _validate(trainer: Trainer, held_out: Batches) -> Record:
    model = trainer.evaluated.eval()
    return {**model.validate(held_out)}


def _summary(name: str, trainer: Trainer, best: Record) -> str:
    metric, _ = trainer.model.monitor
    early = " (stopped early)" if trainer.epochs < trainer.config.epochs else ""
    return (
        f"trained {name}: {trainer.epochs} epochs{early}, {trainer.steps} steps; best held-out"
        f" {metric} {best[metric]:.4f} after {int(best['steps'])} steps (epoch"
        f" {int(best['epoch'])})"
    )
