"""A ready controller: a model that calls tools until it can answer."""

from .agent import Move as Move
from .agent import ToolAgent as ToolAgent
from .agent import ToolCall as ToolCall

__all__ = ["Move", "ToolAgent", "ToolCall"]
