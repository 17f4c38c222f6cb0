"""PLAN, ACT and REFLECT by language models, and what such steps are made of."""

from .asking import AskOptions as AskOptions
from .messages import Message as Message
from .messages import Model as Model
from .messages import NativeCall as NativeCall
from .messages import Reply as Reply
from .messages import SupportsPieces as SupportsPieces
from .messages import SupportsTools as SupportsTools
from .openai import ContextOverflowError as ContextOverflowError
from .openai import ModelError as ModelError
from .openai import OpenAIModel as OpenAIModel
from .openai import ToolsRefusedError as ToolsRefusedError
from .quotes import quote as quote
from .quotes import quoted as quoted
from .recalling import RecallOptions as RecallOptions
from .replies import ReplyError as ReplyError
from .replies import parse as parse
from .requests import ask as ask
from .steps import ActReply as ActReply
from .steps import PlanReply as PlanReply
from .steps import PlanReplyWith as PlanReplyWith
from .steps import ReflectReply as ReflectReply
from .steps import llm_act as llm_act
from .steps import llm_plan as llm_plan
from .steps import llm_reflect as llm_reflect
from .templates import prompt as prompt

__all__ = [
    "ActReply",
    "AskOptions",
    "ContextOverflowError",
    "Message",
    "Model",
    "ModelError",
    "NativeCall",
    "OpenAIModel",
    "PlanReply",
    "PlanReplyWith",
    "RecallOptions",
    "ReflectReply",
    "Reply",
    "ReplyError",
    "SupportsPieces",
    "SupportsTools",
    "ToolsRefusedError",
    "ask",
    "llm_act",
    "llm_plan",
    "llm_reflect",
    "parse",
    "prompt",
    "quote",
    "quoted",
]
