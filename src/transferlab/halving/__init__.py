"""A budget spent on candidates by successive halving: how many enter, how far each is trained, which one is left."""
