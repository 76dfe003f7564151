"""`python -m book`: makes the site of a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from book.site import build
from book.solutions import without_outputs
from oasis_utils.cli.messages import in_words
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import RunFolder, project_root


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m book", description="Make a static site of a finished run and the docs."
    )
    options.add_argument("--run", default="runs/demo", metavar="DIR", help="default: runs/demo")
    options.add_argument("--out", default="book/_build", metavar="DIR", help="default: book/_build")
    options.add_argument(
        "--repository",
        default="",
        metavar="ADDRESS",
        help="address of the repository: adds links and launch buttons; default: none",
    )
    options.add_argument("--branch", default="main", help="its branch; default: main")
    options.add_argument(
        "--publish-pictures",
        action="store_true",
        help="the data are not sample brains, and you have the right to publish their pictures",
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Make the site.

    Args:
        arguments: Words of the command line; None: those of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 invalid usage.
    """
    args = parser().parse_args(arguments)
    repository = f"{args.repository.rstrip('/')}@{args.branch}" if args.repository else ""
    run = RunFolder.at(args.run)
    try:
        page = build(
            project_root(),
            run,
            Path(args.out),
            repository,
            args.publish_pictures,
        )
    except (UsageError, ValueError, OSError) as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    missing = without_outputs(project_root(), run)
    if missing:
        print(
            f"solutions of {', '.join(missing)} have no outputs: `make solutions` executes them,"
            " once for a run; then build the book again"
        )
    print(f"open {page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
