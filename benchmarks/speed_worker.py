"""One timed training with whatever version of `oasis_utils` comes first on the path.

`speed_record.py` calls it. It knows the names of revision 889d11c, of which the first line of each
record is, and of the present package, and uses what both have in common: profiles, batches, the
trainer and the models. Everything that is judged is written to files, so that one judge scores all
versions. Time is the CPU time of this process on one thread, without the looks at the marks.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

try:
    from oasis_utils.config import load_profile
    from oasis_utils.data.batches import Batches
    from oasis_utils.models.pixelcnn import PixelCNN
    from oasis_utils.models.vqvae import VQVAE
    from oasis_utils.runtime import keep_freed_memory, seed_everything
    from oasis_utils.runtime.symmetry import LEFT_RIGHT as MIRRORED
    from oasis_utils.training.trainer import Trainer

    keep_freed_memory()  # as its commands and notebooks do
except ImportError:  # revision 889d11c
    from oasis_utils.pixelcnn import PixelCNN
    from oasis_utils.vqvae import VQVAE

    from oasis_utils.config import load_profile
    from oasis_utils.data import Batches
    from oasis_utils.runtime import seed_everything
    from oasis_utils.training import Trainer

    MIRRORED = True

CPU = torch.device("cpu")
CHANGED = ("grid", "n_codes", "code_dim", "age_mean", "age_std", "n_positions")  # by the maps
Arrays = dict[str, np.ndarray]


class VQVAETask:
    """Trains on slices; its reconstructions of the validation slices are judged."""

    def __init__(self, config: Any, training: Any, slices: Arrays, maps: Arrays, seed: int):
        self.model = VQVAE(config)
        images = torch.from_numpy(slices["train_images"])[:, None]
        self.batches = Batches({"images": images}, training.batch_size, True, MIRRORED, seed)
        self.held_out = torch.from_numpy(slices["validate_images"])[:, None]

    def look(self, model: VQVAE) -> Arrays:
        """{"images"}: decoded validation slices."""
        parts = [model.reconstruct(x.float() / 255)[:, 0] for x in self.held_out.split(64)]
        return {"images": (torch.cat(parts) * 255).round().to(torch.uint8).numpy()}


class PixelCNNTask:
    """Trains on index maps with positions and ages; judged by nats per code of validation maps."""

    def __init__(self, config: Any, training: Any, slices: Arrays, maps: Arrays, seed: int):
        train, self.held_out = _told(maps, "train"), _told(maps, "validate")
        self.batches = Batches(train, training.batch_size, True, seed=seed)
        self.model = PixelCNN(config)
        if hasattr(self.model, "use_maps"):
            known = train["indices"], train["positions"], train["ages"]
            codebook = torch.from_numpy(maps["codebook"])
            self.model.use_maps(codebook, *known, int(maps["n_plain"]))

    def look(self, model: PixelCNN) -> Arrays:
        """{"nats"}: per code."""
        return {"nats": np.array(model.validate(Batches(self.held_out, 64))["nats_per_code"])}


TASKS = {"vqvae": VQVAETask, "pixelcnn": PixelCNNTask}


def _told(maps: Arrays, split: str) -> dict[str, torch.Tensor]:
    kinds = {"indices": np.int64, "positions": np.int64, "ages": np.float32}
    return {k: torch.from_numpy(maps[f"{k}_{split}"].astype(kind)) for k, kind in kinds.items()}


def configurations(job: dict[str, Any], maps: Arrays) -> tuple[Any, Any]:
    """The demo profile's model and training, with the changes of the job."""
    profile, name = load_profile("demo"), job["model"]
    config, training = getattr(profile, name), getattr(profile, f"{name}_training")
    if name != "vqvae":
        given = {k: maps[k].item() for k in CHANGED if k in maps and hasattr(config, k)}
        config = replace(config, **given)
    return replace(config, **job["config"]), replace(training, **job["training"])


def run(job: dict[str, Any], out: Path) -> None:
    """Train for `steps` steps; at each mark write MARK.npz, and all times to times.json."""
    torch.set_num_threads(1)
    seed_everything(job["seed"])
    slices, maps = (dict(np.load(Path(job["pins"]) / f"{kind}.npz")) for kind in ("slices", "maps"))
    config, training = configurations(job, maps)
    start = time.process_time()
    task = TASKS[job["model"]](config, training, slices, maps, job["seed"])
    trainer = Trainer(task.model.train(), training, job["steps"])
    spent, times, epoch = time.process_time() - start, {}, 0
    while trainer.steps < job["steps"]:
        start = time.process_time()
        for batch in task.batches.epoch(epoch):
            trainer.step(batch)
            if trainer.steps in job["marks"]:
                spent += time.process_time() - start
                times[trainer.steps] = spent
                with torch.inference_mode():
                    np.savez(out / f"{trainer.steps}.npz", **task.look(trainer.evaluated.eval()))
                trainer.model.train()
                start = time.process_time()
            if trainer.steps == job["steps"]:
                break
        spent += time.process_time() - start
        epoch += 1
    (out / "times.json").write_text(json.dumps(times))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    run(json.loads((folder / "job.json").read_text()), folder)
