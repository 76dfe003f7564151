"""Where code runs and writes: device, precision, files, run folders, progress."""

from oasis_utils.runtime.array_files import ARCHIVE_ERRORS, read_arrays, require_arrays
from oasis_utils.runtime.device import (
    DEVICES,
    autocast,
    is_device_name,
    keep_freed_memory,
    seed_everything,
    select_device,
    select_dtype,
)
from oasis_utils.runtime.files import (
    STORAGE_ADVICE,
    FolderInUse,
    StorageError,
    atomic,
    atomic_folder,
    exclusive,
    read_json,
    storage_errors,
    write_json,
)
from oasis_utils.runtime.folders import (
    RunFolder,
    from_project_root,
    project_root,
    refuse_inside,
)
from oasis_utils.runtime.origin import banner, hardware, provenance, revision
from oasis_utils.runtime.plain_files import DataError, open_plain, printable, read_plain
from oasis_utils.runtime.progress import Progress, clock, in_notebook

__all__ = [
    "ARCHIVE_ERRORS",
    "DEVICES",
    "STORAGE_ADVICE",
    "DataError",
    "FolderInUse",
    "Progress",
    "RunFolder",
    "StorageError",
    "atomic",
    "atomic_folder",
    "autocast",
    "banner",
    "clock",
    "exclusive",
    "from_project_root",
    "hardware",
    "in_notebook",
    "is_device_name",
    "keep_freed_memory",
    "open_plain",
    "printable",
    "project_root",
    "provenance",
    "read_arrays",
    "read_json",
    "read_plain",
    "refuse_inside",
    "require_arrays",
    "revision",
    "seed_everything",
    "select_device",
    "select_dtype",
    "storage_errors",
    "write_json",
]
