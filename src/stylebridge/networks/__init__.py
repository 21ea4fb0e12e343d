"""Networks: one published network in each file or folder, without losses and training."""
