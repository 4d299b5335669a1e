"""Search: an index of the topics that can be thrown away and rebuilt, and the story of one message or workflow."""
