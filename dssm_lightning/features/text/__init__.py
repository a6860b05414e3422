"""Text features: hashed n-grams, letter trigrams, words, tokens, random projections."""
