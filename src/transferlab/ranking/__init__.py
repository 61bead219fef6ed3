"""Sources and backbones ranked for a target before anything trains."""
