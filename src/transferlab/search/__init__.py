"""What a search looks for, where its trials stand, and what a job tells of its trial. No torch."""
