"""What parent and children call the files of their common folder."""

TALLIES = "tallies"
METRICS = "metrics"
