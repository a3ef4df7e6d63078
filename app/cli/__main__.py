"""`python -m app.cli`: the `vision` command for a process that knows its Python but not its PATH."""

from app.cli import main

if __name__ == "__main__":
    main()
