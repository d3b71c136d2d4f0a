"""The backend ``openai``: any API that speaks OpenAI's fine-tuning protocol."""
