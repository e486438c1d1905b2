"""Floor 5, doing: batches, their retries, verification, stopping."""
