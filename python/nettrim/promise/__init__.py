"""What can be promised of data nobody has seen: losses, exact tails, bets, a sequence of tests."""
