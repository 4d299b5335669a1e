"""What travels: frozen contracts of every topic, and the catalogue of the topics. No I/O."""
