"""The training loop: validation, history, best checkpoint, resume.

It trains every `Trainable`; losses and metrics are the model's own. Of processes that train
together all run the loop in step; the first one writes files and shows progress.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oasis_utils.config import TrainingConfig, digest, to_dict
from oasis_utils.data.batches import TrainingBatches
from oasis_utils.models import checkpoints
from oasis_utils.models.checkpoints import Model
from oasis_utils.models.trainable import SizedBatches, Trainable
from oasis_utils.runtime import Progress, RunFolder, exclusive, processes, provenance
from oasis_utils.training.checks import SLICE_KEYS, check_finite, first_bad_step
from oasis_utils.training.history import Record, read_history, write_history
from oasis_utils.training.schedule import is_milestone, validation_is_due
from oasis_utils.training.trainer import Trainer

CHECK_EVERY = 20  # steps between checks of the losses: each check waits for the GPU


def configuration_hash(
    model: Trainable, config: TrainingConfig, seed: int, inputs: dict[str, str]
) -> str:
    """Digest of everything that a trained model depends on. A finished checkpoint of the same
    digest is not trained again.

    Args:
        model: its class, the version of its code and its configuration count, not its weights.
        config: of the training.
        seed: of all that is drawn.
        inputs: identities of what the batches come from.

    Returns:
        Hexadecimal digits.
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


def fit(
    model: Model,
    train: TrainingBatches,
    held_out: SizedBatches,
    config: TrainingConfig,
    run: RunFolder,
    name: str,
    seed: int = 0,
    inputs: dict[str, str] | None = None,
    on_epoch: Callable[[Any, Record], None] | None = None,
    on_milestone: Callable[[Any, int], None] | None = None,
) -> tuple[Model, list[Record]]:
    """Load a finished model, or train it and keep the best one; prints which of the two happened.

    A finished checkpoint of the same configuration, data and seed is loaded; an unfinished training
    goes on after its last whole epoch. Ctrl-C and other stops leave the best model so far and a
    file to resume from. Validations before the end of the first epoch are for the curves only: a
    model is kept as the best only after it has seen every training sample.

    In processes that `runtime.processes.in_group` has joined, all call it with the same arguments.
    Each takes a part of the rows of every batch, and the model is that of a single process up to
    rounding and to random draws; all return it. The callbacks are called in the first process.

    Args:
        model: on its device.
        train: batches of the training split.
        held_out: batches of the validation split.
        config: epochs, learning rate, averages of weights, patience.
        run: folder that receives the checkpoint and the history.
        name: of both files.
        seed: the one that `runtime.banner` was given; part of the configuration hash.
        inputs: identities of what the batches come from.
        on_epoch: called as on_epoch(model, record) after each validation, for pictures.
        on_milestone: called as on_milestone(model, steps) before the first step, after steps 16,
            64, 256 and so on, and after the last step with the model of that step, which need not
            be the best.

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
    if processes.agreed(_is_trained(path, identity)):
        _say(f"loaded {path.name}: trained before with this configuration, data and seed")
        best, _ = checkpoints.load_model(path, type(model), device)
        return best, read_history(run.history(name))
    if processes.count() > 1:
        train = train.shared(processes.rank(), processes.count(), model.neighbours)
    processes.make_equal(model.state_dict().values())
    trainer = Trainer(model, config, config.epochs * len(train))
    resume = path.with_suffix(".resume.safetensors")
    if trainer.restore(resume, identity, seed):
        _say(f"going on with {name} after epoch {trainer.epochs} of {config.epochs}")
    elif not processes.is_first():  # the first one draws as it would alone
        processes.seed_own(seed, 0)
    about = {
        "recipe": identity,
        "training": to_dict(config),
        "inputs": inputs or {},
        "provenance": provenance(seed, device),
    }
    with (
        _only_writer(path, name),
        _explained(trainer, path, train.batch_size),
        _progress(name, trainer.total_steps) as progress,
    ):
        _validate_start(trainer, held_out)
        while trainer.epochs < config.epochs and not _out_of_patience(trainer):
            for record in _epoch(trainer, train, progress, on_milestone):
                ended = trainer.steps == (trainer.epochs + 1) * len(train)
                if validation_is_due(config, record, ended):
                    record |= _validate(trainer, held_out)
                    check_finite(trainer.model, record, trainer.steps)
                    if (ended or trainer.epochs > 0) and trainer.improved(record):
                        record["improved"] = True
                        if processes.is_first():
                            checkpoints.save_model(
                                path, trainer.evaluated, **about, metrics=record, complete=False
                            )
                    progress.update(trainer.steps, _note(trainer, record))
                    with torch.no_grad():
                        _observe(on_epoch, trainer, record)
                trainer.history.append(record)
                if processes.is_first():
                    write_history(run.history(name), trainer.history)
                if ended:
                    trainer.epochs += 1
                    trainer.save(resume, identity)
                elif _out_of_patience(trainer):
                    break
        _observe(on_milestone, trainer, trainer.steps)
    processes.wait()  # until the best model is written
    best, saved = checkpoints.load_model(path, type(model), device)
    processes.wait()  # until all have read it
    if processes.is_first():
        checkpoints.save_model(path, best, **about, metrics=saved["metrics"], complete=True)
        resume.unlink(missing_ok=True)
    _say(_summary(name, trainer, saved["metrics"]))
    return best, trainer.history


def _is_trained(path: Path, identity: str) -> bool:
    if not path.exists():
        return False
    about = checkpoints.read_about(path)
    return about.get("recipe") == identity and bool(about.get("complete"))


def _say(text: str) -> None:
    if processes.is_first():
        print(text)


def _only_writer(path: Path, name: str) -> contextlib.AbstractContextManager[None]:
    """The lock of the checkpoint, which the first of several processes holds for all."""
    if not processes.is_first():
        return contextlib.nullcontext()
    return exclusive(path.with_name(f".{name}.lock"), path)


def _progress(name: str, total: int) -> contextlib.AbstractContextManager[Progress]:
    """A progress line, which only the first of several processes draws."""
    if processes.is_first():
        return Progress(f"training {name}", total)
    return contextlib.nullcontext(Progress(f"training {name}", total, math.inf))


def _observe(callback: Callable[[Any, Any], None] | None, trainer: Trainer, moment: Any) -> None:
    """Call back in the first process, whose model need not wait for the others meanwhile."""
    if callback and processes.is_first():
        with processes.alone():
            callback(trainer.evaluated.eval(), moment)


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
        _say(
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


def _validate_start(trainer: Trainer, held_out: SizedBatches) -> None:
    """Step 0 of the curves, before anything is learned."""
    if trainer.config.validate_every_steps and trainer.steps == 0:
        trainer.history = [{"epoch": 0, "steps": 0, "seconds": 0.0, **_validate(trainer, held_out)}]


def _epoch(
    trainer: Trainer,
    train: TrainingBatches,
    progress: Progress,
    on_milestone: Callable[[Any, int], None] | None = None,
) -> Iterator[Record]:
    """One pass over the training split. Yields the means of the losses since the record before:
    wherever a validation within the epoch is due, and at its end.
    """
    every, start = trainer.config.validate_every_steps, time.monotonic()
    sums: dict[str, Tensor] = {}
    count, recent, means = 0, [], {}
    processes.make_equal(trainer.state())  # where machines round differently
    trainer.model.train()
    for done, batch in enumerate(train.epoch(trainer.epochs), start=1):
        if on_milestone and is_milestone(trainer.steps):
            _observe(on_milestone, trainer, trainer.steps)
            trainer.model.train()
        losses = trainer.step(batch)
        sums = {key: sums.get(key, 0) + value for key, value in losses.items()}
        count += 1
        recent.append(
            (trainer.steps, losses, {key: batch[key] for key in SLICE_KEYS if key in batch})
        )
        due = done == len(train) or (every > 0 and trainer.steps % every == 0)
        if due or done % CHECK_EVERY == 0:
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
def _validate(trainer: Trainer, held_out: SizedBatches) -> Record:
    """The metrics of the first process, so that all agree on which model is the best."""
    model = trainer.evaluated.eval()
    return {**processes.agreed(model.validate(held_out))}


def _summary(name: str, trainer: Trainer, best: Record) -> str:
    metric, _ = trainer.model.monitor
    early = " (stopped early)" if trainer.epochs < trainer.config.epochs else ""
    return (
        f"trained {name}: {trainer.epochs} epochs{early}, {trainer.steps} steps; best held-out"
        f" {metric} {best[metric]:.4f} after {int(best['steps'])} steps (epoch"
        f" {int(best['epoch'])})"
    )
