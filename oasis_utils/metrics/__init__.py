"""Arrays in, numbers out: knows no model and no data set."""
