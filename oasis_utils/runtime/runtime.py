"""The names of this package under their former place."""

from oasis_utils.runtime import *  # noqa: F403
