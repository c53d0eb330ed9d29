"Fine-tuning: recipe, data, loop, and what is kept of a training."
