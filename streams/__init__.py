"""What moves: everything that touches Kafka, the clock, a socket or a disk."""
