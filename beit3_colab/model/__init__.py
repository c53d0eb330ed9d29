"Pixels and ids in, answers out: network, kernels, tokenizer, weights, `VQA`."
