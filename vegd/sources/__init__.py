"""Where specifications come from: each source is an async iterator of SpecSnapshot."""
