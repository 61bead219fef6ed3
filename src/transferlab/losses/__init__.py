"""Transfer losses: named scalars added to the task loss. The folder says what a loss reads."""
