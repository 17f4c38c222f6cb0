"""The demo: questions about Python, answered from its own language reference."""

from .command import demo as demo
from .command import main as main

__all__ = ["demo", "main"]
