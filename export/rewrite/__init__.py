"""Equal functions, cheaper graphs: one rewrite a file, on the ONNX graph, from the portable form.

Letters: N images, K classes, C channels (O out, I in), H × W pixels; γ, β, μ, σ² are a batch norm's scale, shift,
running mean and running variance.
"""
