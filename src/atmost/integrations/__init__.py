"""Connects other libraries to atmost: web frameworks, task queues, logging libraries; each module needs only its library."""
