"Seeded damage to every format that the library reads, each try in a process with limits: see `benchmarks/fuzz.py`."
