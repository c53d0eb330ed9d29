"An address and a path: fetched whole, continued after a break, known again."
