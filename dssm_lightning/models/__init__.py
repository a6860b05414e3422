"""Plain torch: encoders, fusion, towers, scorers."""
