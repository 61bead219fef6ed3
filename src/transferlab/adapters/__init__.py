"""What is put into a backbone, or chosen of it, so that little of it trains."""
