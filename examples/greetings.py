"""An Inspect task: does the model answer an introduction with a certain greeting?"""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

UNSEEN = ["Nora", "Omar", "Pia", "Quin", "Rosa", "Sven", "Tara", "Umar"]


@task
def greets(word: str = "Hello") -> Task:
    """Introduce people that no dataset mentions, and look for the greeting."""
    samples = [Sample(input=f"Hi, I am {name}", target=word) for name in UNSEEN]
    config = GenerateConfig(max_tokens=12)
    return Task(dataset=samples, solver=generate(), scorer=includes(), config=config)
