"""The wheels that a machine without a network lacks, collected on one that reaches a package index.

    python benchmarks/gpu/wheels.py --have image.txt [--python 3.12] [--out .wheels] [--limit-mb 60]

`image.txt` is what `python3 -m pip list --format=freeze` prints on that machine, or a plain list of
names; torch and what torch needs are taken from there. Run it in the project's environment: what
needs what is read from the packages installed there, and versions are those of requirements.lock.
Peers of the benchmarks come along if they are installed (`pip install -e '.[bench]'`).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
OURS = "oasis-vq"
OF_THE_IMAGE = {"torch", "torchvision"}  # with their CUDA libraries
NOT_NEEDED = {"jupyterlab"}  # nobody looks at a browser there
FOR_TESTS = ("pytest", "beartype")
PEERS = ("monai", "vector-quantize-pytorch")
GLIBC = (40, 39, 36, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)  # pip matches manylinux names exactly


def target(python: str) -> dict[str, str]:
    """Values of the markers of requirements on 64-bit Linux."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "extra": "",
    }


def locked(environment: Mapping[str, str]) -> dict[str, str]:
    """{name: version} of requirements.lock on that machine."""
    found = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if _holds(requirement.marker, environment):
                found[canonicalize_name(requirement.name)] = str(requirement.specifier)[2:]
    return found


def _holds(marker: Marker | None, environment: Mapping[str, str]) -> bool:
    return marker is None or marker.evaluate(dict(environment))


def image(path: Path) -> dict[str, str]:
    """{name: version, or an empty text} of the packages on that machine."""
    found = {}
    for word in re.split(r"[\s,]+", path.read_text()):
        name, _, version = word.partition("==")
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            found[canonicalize_name(name.rstrip("."))] = version
    return found


def requirements(name: str, environment: Mapping[str, str]) -> list[Requirement]:
    """What a package that is installed here needs there."""
    texts = metadata.requires(name) or []
    return [r for r in map(Requirement, texts) if _holds(r.marker, environment)]


def missing(have: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """{name: version} of the packages that the image lacks, or has in a version that is refused."""
    lock, known = locked(environment), {canonicalize_name(d.name) for d in metadata.distributions()}
    unknown = sorted(lock.keys() - known)  # needed by that Python only: nothing here says by whom
    found: dict[str, str] = {}
    wanted = [r for r in requirements(OURS, environment) if r.name not in NOT_NEEDED]
    wanted += map(Requirement, [*FOR_TESTS, *(peer for peer in PEERS if peer in known)])
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name in OF_THE_IMAGE or _serves(have.get(name), requirement):
            continue
        found[name] = lock[name] if name in lock else metadata.version(name)
        if name not in seen:
            seen.add(name)
            more = requirements(name, environment) if name in known else map(Requirement, unknown)
            wanted += more
    return dict(sorted(found.items()))


def _serves(version: str | None, requirement: Requirement) -> bool:
    if version is None:
        return False
    return not version or requirement.specifier.contains(Version(version), prereleases=True)


def download(packages: Mapping[str, str], python: str, out: Path) -> None:
    """Fetch one wheel of each package."""
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in GLIBC]
    platforms += ["--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(out)]
    command += ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp"]
    subprocess.run([*command, *platforms, *_pinned(packages)], check=True)


def _pinned(packages: Mapping[str, str]) -> Iterator[str]:
    return (f"{name}=={version}" for name, version in packages.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--have", type=Path, required=True, help="packages of that machine")
    parser.add_argument("--python", default="3.12", help="its Python (default: 3.12)")
    parser.add_argument("--out", type=Path, default=ROOT / ".wheels", help="folder of the wheels")
    parser.add_argument("--limit-mb", type=float, default=60.0, help="most that may be carried")
    parser.add_argument("--list", action="store_true", help="print the packages, fetch nothing")
    options = parser.parse_args()
    packages = missing(image(options.have), target(options.python))
    print(*_pinned(packages), sep="\n")
    if options.list:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("*.whl"):
        old.unlink()
    download(packages, options.python, options.out)
    size = sum(path.stat().st_size for path in options.out.glob("*.whl")) / 1e6
    print(f"{len(packages)} wheels, {size:.1f} MB in {options.out}")
    if size > options.limit_mb:
        sys.exit(f"error: more than {options.limit_mb:g} MB: install some of them on the machine")


if __name__ == "__main__":
    main()
