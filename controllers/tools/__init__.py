"""Tools: plain typed functions that a step, or a model through it, calls by name."""

from .signatures import ArgumentsError as ArgumentsError
from .signatures import InvalidToolError as InvalidToolError
from .tools import RacedEffectError as RacedEffectError
from .tools import Tool as Tool
from .tools import ToolResult as ToolResult
from .tools import Tools as Tools

__all__ = ["ArgumentsError", "InvalidToolError", "RacedEffectError", "Tool", "ToolResult", "Tools"]
