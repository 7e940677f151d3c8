"""Whose turn it is on which backend. `tensors.scheduler.plan` puts it together; all of it is pure."""
