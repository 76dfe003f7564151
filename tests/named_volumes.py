"""What is recognised among files of given names, for tests of layouts and plain volumes."""

import re

from oasis_utils.data.layouts import by_pattern, recognise


def found(root, names, pattern=None):
    """[(subject, session, head, labels, coding)] of files with these names below a folder."""
    files = [root / name for name in names]
    scans = by_pattern(root, files, re.compile(pattern)) if pattern else recognise(root, files)

    def short(parts):
        return parts[0].removeprefix(f"{root}/") if parts else ""

    return [
        (s.subject, s.session, short(s.image), short(s.labels), s.coding if s.labels else "")
        for s in scans
    ]


def people(root, names, pattern=None):
    return [(subject, session) for subject, session, *_ in found(root, names, pattern)]
