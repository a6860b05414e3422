"""A trained model in one folder that describes itself and answers without torch."""
