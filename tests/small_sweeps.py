"""Sweeps without notebooks: their files, and run folders as finished runs leave them."""

import copy
import time
from dataclasses import replace

from oasis_utils.pipeline.cache_keys import cache_record, earlier
from oasis_utils.pipeline.series import PRODUCTS
from oasis_utils.pipeline.sweep.description import read_sweep
from oasis_utils.pipeline.sweep.plan import plan_sweep
from oasis_utils.runtime import project_root, read_json, write_json

SECTIONS = {
    "01": ("data",),
    "02": ("reconstruction", "vqvae", "profile", "provenance"),
    "03": ("codebook",),
    "04": ("dcgan",),
    "05": ("pixelcnn",),
    "06": ("anomalies",),
    "07": ("sampling",),
    "08": ("priors", "evaluation"),
    "09": ("membership", "utility", "groups"),
    "10": ("heads",),
}
SMALL = """
profile: smoke
device: cpu
grid: {n_codes: [8, 16]}
stages: [01, 02]
"""


def sweep_file(folder, text=SMALL, **more):
    """A file of a sweep whose runs are in `folder`/runs."""
    path = folder / "small.yml"
    lines = [f"{key}: {value}" for key, value in more.items()]
    path.write_text(f"out: {folder / 'runs'}\n{text}\n" + "\n".join(lines), encoding="utf-8")
    return path


def planned(path):
    """The runs of a file."""
    return plan_sweep(read_sweep(path))


def finish(run, stages=None):
    """Leave what finished stages of a run leave; None: all."""
    for stage in run.stages[:stages]:
        for step in stage.steps:
            for product in PRODUCTS[step.name]:
                (run.folder.root / product).parent.mkdir(parents=True, exist_ok=True)
                (run.folder.root / product).touch()
            record = {"cache_key": step.cache_key, "seconds": 2.0, "finished": time.time_ns()}
            before = {"earlier": earlier(run.folder, step.name)}
            write_json(cache_record(run.folder, step.name), record | before)


def fail(run, stage, line):
    """Leave the log of a stage that failed."""
    log = run.stages[stage].log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"--- attempt 1 of 1\n[1/1] {run.stages[stage].only} …\nerror: {line}\n")


def write_report(run, ssim, low, high, kid=0.02):
    """Write the report of `make demo`, with other numbers, as its notebooks write it into a run."""
    report = copy.deepcopy(read_json(project_root() / "benchmarks/results/demo_2_cpu_cores.json"))
    report["reconstruction"]["ssim"] = ssim
    report["reconstruction"]["intervals"]["ssim"] = [low, high]
    report["priors"]["dcgan"]["kid"] = kid
    for name in PRODUCTS:
        sections = {key: report[key] for key in SECTIONS[name[:2]] if key in report}
        write_json(run.folder.summary(name), {"summary": "", **sections})
    write_json(run.folder.report, report)


def with_commands(run, scripts):
    """The run with shell scripts in place of its commands, one for each stage."""
    stages = [
        replace(stage, command=["sh", "-c", script])
        for stage, script in zip(run.stages, scripts, strict=True)
    ]
    return replace(run, stages=tuple(stages), preparation=None)
