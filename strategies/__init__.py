"""The strategies that ship, one YAML file each; a package only so that they are installed beside the service.

Knows nothing: `app.strategies` reads and checks the files.
"""
