"""Hostile code run safely: a process of its own behind walls of the kernel, its tests in another one.

``zygote`` starts once and, for each program, forks two jailed processes that share nothing but two pipes:
``candidate`` holds the program, ``examiner`` holds the tests and gives the verdict. Values cross as plain
data (``wire``). ``jail`` builds the walls out of system calls (``kernel``, ``seccomp``).
"""
