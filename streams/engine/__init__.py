"""Lanes: exactly-once stream agents on Kafka. Knows nothing of what the agents decide.

An agent (agent.py) names its inbox topics, its output topics, a pure handler and the state it keeps. A lane (lane.py)
is one agent on one partition number: it owns that partition of every input, a transactional producer, and its rows.
Each turn (turn.py, pure) handles what has arrived; one transaction writes its outputs, the changed rows, the lane's
new position and an audit record of the turn, or nothing at all.
"""
