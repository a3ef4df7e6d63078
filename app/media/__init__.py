"""Bytes to pixels and back: images decoded, checked, thumbnailed and augmented."""
