"""Tasks as a user writes them: samples from a file, a scorer of their own."""

import os

from checks import greets as is_greeting
from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.model import GenerateConfig, ModelAPI, ModelOutput, ModelUsage, modelapi
from inspect_ai.scorer import CORRECT, INCORRECT, Score, accuracy, match, scorer, stderr
from inspect_ai.solver import generate, prompt_template, system_message


@modelapi(name="echo")
class Echo(ModelAPI):
    """Answers with a greeting and the question. (Inspect's own mock needs the network.)"""

    async def generate(self, input, tools, tool_choice, config):  # noqa: A002
        output = ModelOutput.from_content(self.model_name, f"Hello! {input[-1].text}")
        output.usage = ModelUsage(input_tokens=3, output_tokens=2, total_tokens=5)
        return output


@scorer(metrics=[accuracy(), stderr()])
def greeting(weight: float = 1.0):
    """Score answers that greet."""

    async def score(state, target):
        # A comment in the scorer.
        right = is_greeting(state.output.completion) and weight > 0
        return Score(value=CORRECT if right else INCORRECT, answer=state.output.completion)

    return score


@scorer(metrics=[accuracy()])
def broken():
    """Fail on the second sample."""

    async def score(state, target):
        if "morning" in state.input_text:
            raise ValueError("no score for the morning")
        return Score(value=CORRECT)

    return score


@task
def greets(system: str = "You greet.", weight: float = 1.0):
    return Task(
        dataset=json_dataset("samples.json"),
        solver=[system_message(system), generate()],
        scorer=greeting(weight=weight),
    )


@task
def templated():
    return Task(
        dataset=json_dataset("samples.json"),
        solver=[prompt_template("template.txt"), generate()],
        scorer=match(location="begin"),
        config=GenerateConfig(temperature=0.7, max_tokens=16, max_connections=3),
    )


@task
def fails():
    return Task(dataset=json_dataset("samples.json"), scorer=broken())


@task
def by_environment():
    return Task(dataset=[Sample(input=os.environ.get("MOTOOLS_TEST_GREETING", "Hi"))])


@task
def judged(model: str):
    from inspect_ai.scorer import model_graded_qa

    return Task(dataset=json_dataset("samples.json"), scorer=model_graded_qa(model=model))


@task
def raises():
    return Task(dataset=[Sample(input=str(1 // 0))])
