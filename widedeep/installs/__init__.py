"""Which ranker would win the A/B test? Worlds whose truth is known, the online outcome in them, and what logs alone can say."""
