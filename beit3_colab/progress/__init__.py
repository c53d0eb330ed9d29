"What is shown while one waits: a snapshot of the state, and the displays that draw it."
