"A run on disk, and how it is made: plan, task, journal, runner, folder."
