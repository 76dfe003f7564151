"""The training loop, its history, and trainings of equal time."""
