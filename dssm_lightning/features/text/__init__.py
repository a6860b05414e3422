"""Features of text: hashed n-grams, trigrams, words, tokens."""
