"""What of a study is done, runs, failed or never began, from its folder alone. No torch."""
