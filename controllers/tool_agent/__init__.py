"""A ready controller: a model that calls tools until it can answer."""

from .agent import ToolAgent as ToolAgent
from .approvals import Decision as Decision
from .approvals import UnclearAnswerError as UnclearAnswerError
from .approvals import understood as understood
from .moves import Move as Move
from .moves import ToolCall as ToolCall

__all__ = ["Decision", "Move", "ToolAgent", "ToolCall", "UnclearAnswerError", "understood"]
