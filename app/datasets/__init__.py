"""Datasets: archives or collections that a worker checks, splits and keeps as a manifest.

Knows rows, uploads and reports; opens no archive and no image itself.
"""
