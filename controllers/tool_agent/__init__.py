"""A ready controller: a model that calls tools until it can answer."""

from .agent import ToolAgent as ToolAgent
from .moves import Move as Move
from .moves import ToolCall as ToolCall

__all__ = ["Move", "ToolAgent", "ToolCall"]
