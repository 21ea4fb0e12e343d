"""Networks: one published network a file, without losses and without training."""
