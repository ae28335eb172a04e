"""The process: listeners, the thread that receives, reload, drain, and what it says of itself."""
