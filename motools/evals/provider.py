"""The model provider that Inspect uses for models that motools trained.

Inspect asks for one answer at a time; a model answers many at once for little
more. Requests that are waiting when the model is free, with equal settings,
are answered as one batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

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
from motools.training.local.sampling import Sampling

if TYPE_CHECKING:
    from inspect_ai.tool import ToolChoice, ToolInfo

    from motools.training.local.models import Completion

BATCH: Final = 64
"""Most conversations in one batch."""

MAX_TOKENS: Final = 2048
"""Most tokens in an answer where nothing is said, as with ``hf/``. Part of the recipe."""

GATHER_SECONDS: Final = 0.01
"""How long a request waits for others to join it."""

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


class _Request:
    def __init__(
        self,
        conversation: list[dict[str, str]],
        max_tokens: int,
        sampling: Sampling | None,
        stop: tuple[str, ...],
    ) -> None:
        self.conversation = conversation
        self.sampling = sampling
        self.limits = max_tokens, stop
        self.answer: Completion | None = None


@modelapi(name="motools")
class LocalModel(ModelAPI):
    """A base model with or without an adapter, in this process.

    Args:
        model_name: what logs call it.
        base_url: not used.
        api_key: not used.
        config: Inspect's own.
        spec: what :func:`motools.training.local.models.load` takes.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  (Inspect's signature)
        *,
        spec: dict[str, Any],
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        from motools.training.local import models

        models.make_deterministic()
        self._model, self._tokenizer = models.load(spec)
        self._waiting: list[_Request] = []
        self._asked: Counter[bytes] = Counter()
        self._free = anyio.Lock()

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
        request = self._request(conversation, config)
        self._waiting.append(request)
        await anyio.sleep(GATHER_SECONDS)
        async with self._free:
            if request.answer is None:
                await self._answer(self._batch_with(request))
        assert request.answer is not None
        return _output(self.model_name, request.answer)

    def max_tokens(self) -> int | None:
        """Most tokens in an answer where nothing is said."""
        return MAX_TOKENS

    def max_connections(self) -> int:
        """How many requests Inspect sends at once: a batch and the next one."""
        return 2 * BATCH

    def collapse_user_messages(self) -> bool:
        """Whether what the user says in a row is one message, as with ``hf/``."""
        return True

    def _request(self, conversation: list[dict[str, str]], config: GenerateConfig) -> _Request:
        given = config.model_dump(exclude_none=True)
        if unknown := sorted(given.keys() - _HONOURED - _IRRELEVANT):
            raise EvaluationError(f"local models cannot honour the setting {unknown[0]}")
        sampling = None
        if config.temperature:
            seed = self._seed(conversation, config.seed or 0)
            sampling = Sampling(config.temperature, seed, config.top_p)
        stop = tuple(config.stop_seqs or ())
        return _Request(conversation, config.max_tokens or MAX_TOKENS, sampling, stop)

    def _seed(self, conversation: list[dict[str, str]], seed: int) -> int:
        """A seed of its own for each request, whatever else is or was asked.

        Equal conversations of one sample in one epoch are told apart by how many came before.
        """
        state = sample_state()
        sample = None if state is None else [state.sample_id, state.epoch]
        name = canonical_json([conversation, seed, sample])
        self._asked[name] += 1
        return int(hash_bytes(canonical_json([name.decode(), self._asked[name]])).hex[:15], 16)

    def _batch_with(self, first: _Request) -> list[_Request]:
        alike = [one for one in self._waiting if one.limits == first.limits]
        batch = [first, *(one for one in alike if one is not first)][:BATCH]
        self._waiting = [one for one in self._waiting if one not in batch]
        return batch

    async def _answer(self, batch: Sequence[_Request]) -> None:
        from motools.training.local import models

        max_tokens, stop = batch[0].limits

        def work() -> list[Completion]:
            return models.generate(
                self._model,
                self._tokenizer,
                [one.conversation for one in batch],
                max_tokens=max_tokens,
                sampling=[one.sampling for one in batch],
                stop=stop,
                keep_stop=True,
            )

        try:
            answers = await anyio.to_thread.run_sync(work)
        except BaseException:
            # Each of the others tries again, and meets the error itself.
            self._waiting.extend(batch[1:])
            raise
        for one, answer in zip(batch, answers, strict=True):
            one.answer = answer


def _plain(message: ChatMessage) -> dict[str, str]:
    if not isinstance(message.content, str) and any(p.type != "text" for p in message.content):
        raise EvaluationError("local models read text only; the task gives them other content")
    if message.role == "tool":
        raise EvaluationError("local models cannot call tools; the task gives them a tool's answer")
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
