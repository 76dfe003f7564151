"""Any source of slices or volumes to one prepared data set with splits and batches."""
