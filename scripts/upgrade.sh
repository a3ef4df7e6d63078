#!/usr/bin/env bash
# Writes constraints.txt: the exact versions that a fresh install of pyproject.toml gets today.
# Local tags (+cpu, +cu128) are cut off so that the file holds on machines with other builds of the same version.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet ./client '.[test,lint,scale,clients,dev]'
{
    echo "# Exact versions that were tested together; written by 'make upgrade', read by every install."
    "$scratch/venv/bin/python" -m pip freeze --exclude llamafarm-vision --exclude llamafarm-vision-client | sed -E 's/\+[A-Za-z0-9.]+$//; /@/d'
} > "$scratch/constraints.txt"
# build tools that pip freeze leaves out are left out on purpose: pip isolates builds
cp "$scratch/constraints.txt" constraints.txt
