"""Datasets: archives or collections that a worker checks, splits and keeps as a manifest.

Opens no archive and no image itself.
"""
