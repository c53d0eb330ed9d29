"The command line, the doctor and the self-test."
