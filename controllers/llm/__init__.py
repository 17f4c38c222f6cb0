"""PLAN, ACT and REFLECT by language models, and what such steps are made of."""

from .asking import ask as ask
from .messages import Message as Message
from .messages import Model as Model
from .messages import Reply as Reply
from .openai import ModelError as ModelError
from .openai import OpenAIModel as OpenAIModel
from .prompting import prompt as prompt
from .quoting import quote as quote
from .quoting import quoted as quoted
from .reading import ReplyError as ReplyError
from .reading import parse as parse
from .steps import ActReply as ActReply
from .steps import PlanReply as PlanReply
from .steps import PlanReplyWith as PlanReplyWith
from .steps import ReflectReply as ReflectReply
from .steps import llm_act as llm_act
from .steps import llm_plan as llm_plan
from .steps import llm_reflect as llm_reflect

__all__ = [
    "ActReply",
    "Message",
    "Model",
    "ModelError",
    "OpenAIModel",
    "PlanReply",
    "PlanReplyWith",
    "ReflectReply",
    "Reply",
    "ReplyError",
    "ask",
    "llm_act",
    "llm_plan",
    "llm_reflect",
    "parse",
    "prompt",
    "quote",
    "quoted",
]
