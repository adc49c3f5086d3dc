"""What every benchmark here shares."""
