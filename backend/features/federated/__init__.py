"""Rounds of federated training: participants, updates, verdicts, models and their figures."""
