"""The broadcast: the worker behind the queues."""
