"""Image towers on a GPU: full-size uint8 pixels or JPEG files in, features out; see `runtime`."""
