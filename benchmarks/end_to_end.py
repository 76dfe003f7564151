"""How long does the whole series take? The notebooks in sequence under papermill, timed one by one.

    python benchmarks/end_to_end.py [--profiles smoke,demo] [--device auto]
    python benchmarks/end_to_end.py --run runs/demo      # takes the times of a finished run instead

Time here is that of the clock, with all cores: it is what a person waits for. A fresh folder, so
nothing is skipped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import begin, ceilings, record, results_file

from oasis_utils.runtime import RunFolder, read_json


def finished(folder: RunFolder) -> tuple[str, dict]:
    """(profile, times of the notebooks) of a run; what they trained and drew is in its report."""
    report = read_json(folder.report)
    times = dict(report["seconds"])
    return report["profile"], {
        "seconds": times.pop("total"),
        "notebooks": times,
        "hardware": report["provenance"]["hardware"],
    }


def run(profile: str, device: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "oasis_utils",
                "run",
                "--profile",
                profile,
                "--out",
                folder,
                "--device",
                device,
            ],
            check=True,
        )
        waited = time.monotonic() - start
        return finished(RunFolder(Path(folder)))[1] | {"seconds_with_start": waited}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", default="smoke", help="separated by commas (default: smoke)")
    parser.add_argument("--run", default="", help="a finished run folder")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = begin(options.device)
    path = results_file(device)
    figures = read_json(path).get("series", {}) if path.exists() else {}
    figures.pop("commit", None)
    timed = (
        dict([finished(RunFolder.at(options.run))])
        if options.run
        else {profile: run(profile, options.device) for profile in options.profiles.split(",")}
    )
    for profile, times in timed.items():
        figures[profile] = times | {
            "ceilings_afterwards": ceilings(device)
        }  # a shared machine has slow hours
        print(
            f"{profile}: {times['seconds']:.0f} s ("
            + ", ".join(f"{name[:2]} {value:.0f}" for name, value in times["notebooks"].items())
            + ")"
        )
    record("series", figures, device)


if __name__ == "__main__":
    main()
