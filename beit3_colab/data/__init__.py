"Questions, people's answers and answer lists; a file for each data set."
