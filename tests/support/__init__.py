"""What tests share: networks and programs, referees that judge answers, and random calls."""
