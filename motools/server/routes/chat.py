"""``/v1/chat/completions``: asking base models and tuned ones."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.responses import Response

from motools.evals.config import MAX_TOKENS
from motools.server.answers import Question
from motools.server.bodies import Completion, Message
from motools.server.errors import RequestError
from motools.server.pages import now
from motools.server.routes.common import Account, Served, errors

router = APIRouter(tags=["chat"])

_WITHOUT_EFFECT: Final = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields that change no answer."""

_NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Values of fields at which they change no answer; at any other they are refused."""


@router.post(
    "/chat/completions",
    responses={200: {"content": {"text/event-stream": {}}}, **errors(404)},
    response_class=JSONResponse,
    summary="Ask a model.",
)
def complete(body: Completion, service: Served, account: Account) -> Response:
    """The answer that an evaluation on this machine would get.

    Without ``temperature`` the likeliest token is taken each time.
    """
    _check_fields(body.model_extra or {}, _NEUTRAL)
    if body.n not in (None, 1):
        raise RequestError(
            "n: one answer at a time is given; ask again for another",
            param="n",
            code="unsupported_parameter",
        )
    question = _question(body)
    found = service.models.find(account, body.model)
    model = service.models.loadable(found)
    digest = model.digest or service.models.digest(found)
    answer = service.answers.ask(model, digest, question)
    return _Answered(body, answer).response()


class _Answered:
    """An answer as OpenAI has it, in one piece or as a stream."""

    def __init__(self, body: Completion, answer: Any) -> None:
        self._body = body
        self._text: str = answer.text
        self._reason = "stop" if answer.stop_reason == "stop" else "length"
        self._usage = {
            "prompt_tokens": answer.input_tokens,
            "completion_tokens": answer.output_tokens,
            "total_tokens": answer.input_tokens + answer.output_tokens,
        }
        self._facts = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": now(),
            "model": body.model,
        }

    def response(self) -> Response:
        if self._body.stream:
            return StreamingResponse(self._lines(), media_type="text/event-stream")
        message = {"role": "assistant", "content": self._text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": self._reason,
            "logprobs": None,
        }
        return JSONResponse(
            {
                **self._facts,
                "object": "chat.completion",
                "choices": [choice],
                "usage": self._usage,
            }
        )

    def _lines(self) -> Iterator[str]:
        for chunk in self._chunks():
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    def _chunks(self) -> Iterator[dict[str, Any]]:
        yield self._chunk({"role": "assistant", "content": ""})
        for word in _words(self._text):
            yield self._chunk({"content": word})
        yield self._chunk({}, self._reason)
        options = self._body.stream_options
        if options is not None and options.include_usage:
            yield {**self._chunk({}), "choices": [], "usage": self._usage}

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return {**self._facts, "object": "chat.completion.chunk", "choices": [choice]}


def _words(text: str) -> Iterator[str]:
    for _, letters in itertools.groupby(text, str.isspace):
        yield "".join(letters)


def _question(body: Completion) -> Question:
    most = body.max_completion_tokens or body.max_tokens
    stop = body.stop or ()
    return Question(
        messages=_collapsed([_message(at, each) for at, each in enumerate(body.messages)]),
        max_tokens=most or MAX_TOKENS,
        temperature=body.temperature or 0.0,
        top_p=body.top_p,
        seed=body.seed,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _message(at: int, message: Message) -> dict[str, str]:
    _check_fields(message.model_extra or {}, {}, f"messages.{at}.")
    content = message.content
    text = content if isinstance(content, str) else "\n".join(part.text for part in content)
    return {"role": message.role, "content": text}


def _collapsed(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """What the user says in a row is one message, as in an evaluation."""
    made: list[dict[str, str]] = []
    for message in messages:
        if made and message["role"] == made[-1]["role"] == "user":
            made[-1] = {"role": "user", "content": f"{made[-1]['content']}\n{message['content']}"}
        else:
            made.append(message)
    return made


def _check_fields(
    given: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]], prefix: str = ""
) -> None:
    for name, value in given.items():
        if value is None or value in neutral.get(name, ()) or (prefix and not value):
            continue
        if prefix or name not in _WITHOUT_EFFECT:
            raise RequestError(
                f"{prefix}{name}: a local model cannot honour this; leave it out",
                param=f"{prefix}{name}",
                code="unsupported_parameter",
            )
