"""Where other libraries meet atmost: web frameworks, task queues, logging libraries; each module needs its library only."""
