"""What is in the data: profiles of tables, choices that follow from them, and checks before training."""
