"""The public ops: validation, registration with torch.library, autograd. One file an op."""
