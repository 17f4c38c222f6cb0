"""The command line, `pmll`: a module for each command.

Beside servers it alone reads the environment.
"""

from pmll_async.cli.main import main as main

__all__ = ["main"]
