"""Answer HTTP requests: OpenAI's completions, suggestions, scores, models, health and metrics."""
