"""Events on their way to others: logs, metrics, spans, a webhook, a command. One file for each."""
