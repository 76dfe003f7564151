"""Values of options with which drawing would fail far from their cause."""

from attacks.checkpoints import sound_run
from attacks.files import images, png_bytes
from attacks.harness import attack
from slice_files import picture_of

SMALL = "temperature and top_p must be 1e-06 or more"


@attack("sample", SMALL, "--temperature", "1e-300")
def temperature_that_overflows(data):
    """Logits divided by 1e-300 are infinite."""
    sound_run(data)


@attack("sample", SMALL, "--top-p", "1e-320")
def share_that_underflows(data):
    """A share that single precision rounds to nothing."""
    sound_run(data)


@attack("sample", None, "--temperature", "1e-6", "--top-p", "1e-6")
def smallest_values(data):
    """The smallest temperature and share that are taken."""
    sound_run(data)


@attack("sample", None, "--seed", "4294967295")
def largest_seed(data):
    """The largest seed."""
    sound_run(data)


@attack("sample", "no run folder|no checkpoint", "--top-k", "999999999999999999999")
def empty_run(data):
    """A run folder without models, and a number of 21 digits."""
    data.mkdir()


@attack("sample", "temperature must be from 0", "--temperature", "1e300")
def temperature_that_underflows(data):
    """Logits divided by 1e300 are all alike."""
    sound_run(data)


@attack("sample", "top_k must be from 0", "--top-k", "100000000000000000000")
def number_of_codes_of_21_digits(data):
    """More codes than a machine can count."""
    sound_run(data)


@attack("pattern", "is no regular expression that Python takes", "--pattern", "(" * 3000)
def pattern_that_is_too_deep(data):
    """A regular expression of 3000 groups in one another."""
    images(data, png_bytes(picture_of(1, 1, 32)))
