"""Jobs that teach a collection the examples of a dataset."""
