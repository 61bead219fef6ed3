"""The jobs of a sweep, composed before any starts, and in processes of their own."""
