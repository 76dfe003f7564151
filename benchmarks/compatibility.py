"""Runs the test suite with other Pythons and torch versions and records what passed.

    python3.13 -m venv /somewhere/py313 && /somewhere/py313/bin/pip install -r requirements.lock &&
    \
        /somewhere/py313/bin/pip install --no-deps -e .
    .venv/bin/python benchmarks/compatibility.py /somewhere/py313/bin/python [MORE ...] [--out FILE]
    [--tests "-m ..."]
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
from pathlib import Path

from oasis_utils.runtime import project_root, revision, write_json

ASK = (
    "import json, platform, torch, torchvision, numpy; print(json.dumps({'python':"
    " platform.python_version(), 'torch': torch.__version__, 'torchvision':"
    " torchvision.__version__, 'numpy': numpy.__version__}))"
)
COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|deselected)")


def examine(python: str, tests: list[str]) -> dict[str, object]:
    """Versions of one environment, the counts of its last line of pytest, and the names of failed
    tests.
    """
    versions = json.loads(
        subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True).stdout
    )
    ran = subprocess.run(
        [python, "-m", "pytest", "-q", "--no-header", *tests],
        cwd=project_root(),
        capture_output=True,
        text=True,
    )
    lines = ran.stdout.strip().splitlines()
    counts = {kind: int(number) for number, kind in COUNTS.findall(lines[-1] if lines else "")}
    return {
        **versions,
        "revision": revision(),
        "exit_code": ran.returncode,
        **counts,
        "failures": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "pythons", nargs="+", metavar="PYTHON", help="interpreter of a prepared environment"
    )
    parser.add_argument(
        "--out", type=Path, default=project_root() / "benchmarks/results/compatibility.json"
    )
    parser.add_argument(
        "--tests", default="", help="arguments for pytest in one string (default: the whole suite)"
    )
    args = parser.parse_args()
    results = []
    for python in args.pythons:
        results.append(examine(python, shlex.split(args.tests)))
        print(json.dumps(results[-1]), flush=True)
    write_json(args.out, {"tests": args.tests or "all", "environments": results})


if __name__ == "__main__":
    main()
