"""Turn reviews into sparse features: tf-idf of n-grams, counts of lexicons and patterns."""
