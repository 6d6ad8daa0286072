"""The command line. Imports nothing heavy: a command loads its rooms when it runs."""

from hcdc.cli.app import main

__all__ = ["main"]
