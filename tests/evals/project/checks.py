"""First-party code that the tasks' scorer reaches."""

GREETINGS = ("hello", "default")


def greets(text: str, words: tuple[str, ...] = GREETINGS) -> bool:
    """Whether a text starts with a greeting."""
    return text.strip().lower().startswith(words)
