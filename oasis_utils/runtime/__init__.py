"""Where code runs and writes: device, precision, files, run folders, progress."""
