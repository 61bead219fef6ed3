"""The finished runs of a study, averaged into runs of their own."""
