"""``/v1/chat/completions``: asking base models and tuned ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from motools.evals.config import MAX_TOKENS
from motools.server.answers import Question
from motools.server.bodies import Completion, Message
from motools.server.errors import RequestError
from motools.server.routes.common import Account, Served, errors
from motools.server.service import Service
from motools.server.streaming import Ask, Reply, begun

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
async def complete(
    body: Completion, request: Request, service: Served, account: Account
) -> Response:
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
    ask = await run_in_threadpool(_asking, service, account, body.model, question)
    options = body.stream_options
    reply = Reply(body.model, with_usage=bool(options and options.include_usage))
    if not body.stream:
        return JSONResponse(reply.whole(await service.askers.answer(ask, partial(_gone, request))))
    parts = await begun(service.askers.stream(ask, question.stop))
    return StreamingResponse(reply.lines(parts), media_type="text/event-stream")


async def _gone(request: Request) -> None:
    """Return when a client, whose request is here whole, has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _asking(service: Service, account: str, name: str, question: Question) -> Ask:
    found = service.models.find(account, name)
    model = service.models.loadable(found)
    digest = model.digest or service.models.digest(found)
    return partial(service.answers.ask, model, digest, question)


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
