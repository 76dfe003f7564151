"""Shared set-up: figures without a screen, one torch thread so that results repeat."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
