"""The processes of a run on several devices: the first writes of it, the others train beside it."""
