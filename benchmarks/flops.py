"""Floating-point operations of a training step, by count.

Of a matrix of N parameters and one token: 2N forward, 4N backward. Attention: 4 * width a pair of query and
key forward, 8 backward. Norms, activations, softmax and the optimiser are not counted.
"""

from benchmarks.made import Size


def least_flops(size: Size, *, prompt: int, completion: int, completions: int) -> float:
    """The least a prompt and its completions cost: prompt once, head on completions, reference cached."""
    tokens = prompt + completions * completion
    pairs = prompt**2 / 2 + completions * (prompt * completion + completion**2 / 2)
    return (
        6 * size.body_parameters * tokens
        + 12 * size.layers * size.hidden * pairs
        + 6 * size.hidden * size.vocab * completions * completion
    )


def trl_flops(size: Size, *, prompt: int, completion: int, pairs: int, every_position: bool) -> float:
    """What TRL computes for the pairs of a prompt, without padding; its head is projected again backward.

    Args:
        size: of the model.
        prompt: tokens.
        completion: tokens.
        pairs: of a prompt.
        every_position: whether prompt tokens go through the head, as they do on a CPU.
    """
    tokens = prompt + completion
    scored = tokens - 1 if every_position else completion
    sequence = (
        6 * size.body_parameters * tokens
        + 12 * size.layers * size.hidden * tokens**2 / 2
        + 8 * size.hidden * size.vocab * scored
    )
    return 2 * pairs * sequence
