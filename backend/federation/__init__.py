"""How sites learn together: tasks, local training, checks and aggregation of their updates."""
