"""Sweeps: the series for every combination of parameters and seeds, here or as Slurm job arrays."""
