"""What backbones take, one module a kind: how data are brought to a net, and normalised a batch at a time."""
