"""Sample traffic: what fleets of agents send, made from data sets and made up."""
