"""What NVIDIA's driver means by an Xid, and whether a device may be given out after one.

Source: NVIDIA's "XID Errors" catalogue (docs.nvidia.com/deploy/xid-errors), its causes and recovery actions.
"""

from __future__ import annotations

_MEANINGS = {
    13: "graphics engine exception",
    31: "memory page fault",
    43: "the GPU stopped processing for one program",
    45: "pre-emptive clean-up after an earlier error",
    48: "double-bit ECC error",
    61: "internal micro-controller breakpoint",
    62: "internal micro-controller halt",
    63: "a memory row was remapped or a page retired",
    64: "a memory row could not be remapped",
    68: "video decoder exception",
    69: "graphics engine class error",
    74: "NVLink error",
    79: "the GPU has fallen off the bus",
    92: "high rate of single-bit ECC errors",
    94: "contained memory error",
    95: "uncontained memory error",
    109: "context switch time-out",
    119: "the GPU's system processor does not answer",
    120: "error of the GPU's system processor",
    140: "unrecovered ECC error",
}

_OF_PROGRAMS = frozenset({13, 31, 43, 45, 63, 68, 69, 92, 94, 109})
"""Those that end or hurt one program, or only announce something: the device serves the next one as well as before."""


def describe(xid: int) -> str:
    return f"xid {xid}: {_MEANINGS.get(xid, 'see the catalogue of Xid errors')}"


def is_of_device(xid: int) -> bool:
    """Whether the device itself is in doubt until it has been reset. An Xid that is not in the catalogue is."""
    return xid not in _OF_PROGRAMS
