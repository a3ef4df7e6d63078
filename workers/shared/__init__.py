"""What several kinds of jobs need: examples, the run, splitting, figures and towers."""
