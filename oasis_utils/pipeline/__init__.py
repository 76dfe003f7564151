"""The notebooks run in sequence, and what a run leaves: results and report."""
