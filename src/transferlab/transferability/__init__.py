"""How well a source fits a target, before anything is trained: functions of a `Candidate`, one idea a file."""
