"Pixels from anywhere: a folder, a zip, a server, the web, memory."
