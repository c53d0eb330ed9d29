"Answers against people's answers: rules, accuracy with intervals, results files."
