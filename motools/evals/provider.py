"""The model provider that Inspect uses for local models.

The models are in another process, which answers the requests of all evaluations
in common batches: see :mod:`motools.training.local.host`.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.solver._task_state import sample_state

from motools.digest import canonical_json, hash_bytes
from motools.errors import EvaluationError
from motools.evals.config import MAX_TOKENS
from motools.evals.connection import Connection
from motools.training.local.pool import AT_ONCE
from motools.training.local.sampling import Sampling
from motools.training.seeds import of_replicate

if TYPE_CHECKING:
    from inspect_ai.tool import ToolChoice, ToolInfo

    from motools.training.local.models import Completion

_HONOURED: Final = frozenset({"temperature", "max_tokens", "top_p", "seed", "stop_seqs"})
_IRRELEVANT: Final = frozenset(
    {
        "adaptive_connections",
        "attempt_timeout",
        "cache",
        "max_connections",
        "max_retries",
        "stream_idle_timeout",
        "system_message",  # Inspect has put it among the messages by then
        "timeout",
    }
)


def offer(connection: Connection, name: str, digest: str, replicate: int = 0) -> None:
    """Let Inspect find a model.

    Args:
        connection: to the process that holds it.
        name: that Inspect finds it by, ``motools/…``.
        digest: under which it was loaded over the connection.
        replicate: which of several independent repeats asks it.
    """
    _offered[name.removeprefix("motools/")] = (connection, digest, replicate)


_offered: Final[dict[str, tuple[Connection, str, int]]] = {}


@modelapi(name="motools")
class LocalModel(ModelAPI):
    """A model that was offered: a base model with or without an adapter.

    Args:
        model_name: under which it was offered.
        base_url: not used.
        api_key: not used.
        config: Inspect's own.

    Raises:
        EvaluationError: no model of this name was offered.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  (Inspect's signature)
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if model_name not in _offered:
            raise EvaluationError(
                f"motools/{model_name} is there only in evaluations that motools runs"
            )
        self._connection, self._digest, self._replicate = _offered[model_name]
        self._asked: Counter[bytes] = Counter()
        self._threads = anyio.CapacityLimiter(self.max_connections())

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002  (Inspect's name)
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer one conversation, together with others that are waiting.

        Raises:
            EvaluationError: the request has tools, media or settings that a
                local model cannot honour.
        """
        if tools:
            raise EvaluationError("local models cannot call tools; the task gives them some")
        conversation = [_plain(message) for message in input]
        answer = partial(
            self._connection.answer,
            self._digest,
            conversation,
            max_tokens=config.max_tokens or MAX_TOKENS,
            sampling=self._sampling(conversation, config),
            stop=config.stop_seqs or (),
        )
        return _output(
            self.model_name,
            await anyio.to_thread.run_sync(answer, abandon_on_cancel=True, limiter=self._threads),
        )

    def max_tokens(self) -> int | None:
        """Most tokens in an answer where nothing is said."""
        return MAX_TOKENS

    def max_connections(self) -> int:
        """How many requests Inspect sends at once: a batch and the next one."""
        return 2 * AT_ONCE

    def collapse_user_messages(self) -> bool:
        """Whether what the user says in a row is one message, as with ``hf/``."""
        return True

    def _sampling(
        self, conversation: list[dict[str, str]], config: GenerateConfig
    ) -> Sampling | None:
        given = config.model_dump(exclude_none=True)
        if unknown := sorted(given.keys() - _HONOURED - _IRRELEVANT):
            raise EvaluationError(f"local models cannot honour the setting {unknown[0]}")
        if not config.temperature:
            return None
        seed = self._seed(conversation, of_replicate(config.seed or 0, self._replicate))
        return Sampling(config.temperature, seed, config.top_p)

    def _seed(self, conversation: list[dict[str, str]], seed: int) -> int:
        """A seed of its own for each request, whatever else is or was asked.

        Equal conversations of one sample in one epoch are told apart by how many came before.
        """
        state = sample_state()
        sample = None if state is None else [state.sample_id, state.epoch]
        name = canonical_json([conversation, seed, sample])
        self._asked[name] += 1
        return int(hash_bytes(canonical_json([name.decode(), self._asked[name]])).hex[:15], 16)


def _plain(message: ChatMessage) -> dict[str, str]:
    if not isinstance(message.content, str) and any(p.type != "text" for p in message.content):
        raise EvaluationError("local models read text only; the task gives them other content")
    if message.role == "tool":
        raise EvaluationError("local models cannot call tools; the task gives them a tool's answer")
    if message.role == "assistant" and message.tool_calls:
        raise EvaluationError("local models cannot call tools; the task gives them a call of one")
    return {"role": message.role, "content": message.text}


def _output(model: str, answer: Completion) -> ModelOutput:
    return ModelOutput(
        model=model,
        choices=[
            ChatCompletionChoice(
                message=ChatMessageAssistant(content=answer.text, model=model, source="generate"),
                stop_reason="stop" if answer.stop_reason == "stop" else "max_tokens",
            )
        ],
        usage=ModelUsage(
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            total_tokens=answer.input_tokens + answer.output_tokens,
        ),
    )
