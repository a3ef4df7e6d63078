"""Jobs that bind a collection to another encoder."""
