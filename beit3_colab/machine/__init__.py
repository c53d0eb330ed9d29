"This computer: messages, files, device, front end, processes. No model, no data."
