"""Block-by-block reconstruction: learned rounding of the weights, learned biases and learned activation steps.

After BRECQ (arXiv 2102.05426) with AdaRound (arXiv 2004.10568) and LSQ (arXiv 1902.08153), as in the published engine of
Trio-ViT: each block, in execution order, learns to give the float network's output from the integer network's input.
"""
