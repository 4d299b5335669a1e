"""The stream agents: each binds topics, a pure handler and its state, for the engine to run."""
