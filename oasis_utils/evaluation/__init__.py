"""Sets of slices judged against real ones: reference, scores, anomalies, verdicts."""
