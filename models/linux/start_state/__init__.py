"""What a guest kernel finds when it starts: memory, its map, and the builder's tables."""
