"""From records to a table of strategies: seeds are blocks, and every difference has its interval. No torch."""
