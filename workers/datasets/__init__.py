"""Datasets: a folder of files in one of the known formats becomes a manifest over stored images."""
