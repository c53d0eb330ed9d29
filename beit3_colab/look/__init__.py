"What a person sees of a run: browser, report, plots, tables."
