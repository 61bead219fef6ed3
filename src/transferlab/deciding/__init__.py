"""`transferlab select`: which source, backbone, strategy and rate to take, chosen within a budget."""
