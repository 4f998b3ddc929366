"""The results of the paper, https://arxiv.org/abs/2406.19185, reproduced with the code of this project."""
