"""Turn reviews into sparse features: tf-idf of n-grams and Brown clusters, counts of lexicons and patterns."""
