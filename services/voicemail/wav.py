"""Read and write WAV files: PCM of 8 to 32 bits, floats, and the A-law and mu-law of telephony.

The standard library's `wave` reads only PCM, but recordings of telephone systems are often mu-law.
Formats: RIFF WAVE (Microsoft, 1991) with WAVEFORMATEXTENSIBLE; companding: ITU-T G.711.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headway import Reject

Samples = NDArray[np.float32]

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_STREAMED = (0, 0xFFFFFFFF)
"""Placeholder sizes in the headers of streamed files, whose length was unknown."""
_REMEDY: Final = "send a WAV file with PCM, float, A-law or mu-law samples"


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded audio: one row per frame, one column per channel, with a full scale of -1 to 1."""

    samples: Samples
    rate: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate


def read(data: bytes, max_seconds: float) -> Audio:
    """Decode a WAV file.

    Args:
        data: the whole file.
        max_seconds: maximum duration, checked before decoding.

    Raises:
        Reject: if it is invalid, too long or has an unknown format; says why.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise Reject("this is not a WAV file", remedy=_REMEDY)
    layout: bytes | None = None
    position = 12
    while position + 8 <= len(data):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = position + 8
        if name == b"data":
            if layout is None:
                raise Reject("the WAV file has samples before their format", remedy=_REMEDY)
            if size in _STREAMED:
                size = len(data) - body
            if body + size > len(data):
                raise Reject(f"the WAV file is cut off: {size} bytes of samples announced, {len(data) - body} there")
            return _decode(layout, memoryview(data)[body : body + size], max_seconds)
        if name == b"fmt ":
            layout = data[body : body + size]
        position = body + size + size % 2
    raise Reject("the WAV file has no samples", remedy=_REMEDY)


def write(samples: Samples, rate: int) -> bytes:
    """Encode mono samples as 16-bit PCM."""
    pcm = np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2").tobytes()
    layout = struct.pack("<HHIIHH", _PCM, 1, rate, rate * 2, 2, 16)
    riff = struct.pack("<4sI4s4sI", b"RIFF", 36 + len(pcm), b"WAVE", b"fmt ", len(layout))
    return riff + layout + struct.pack("<4sI", b"data", len(pcm)) + pcm


def _decode(layout: bytes, body: memoryview, max_seconds: float) -> Audio:
    if len(layout) < 16:
        raise Reject("the WAV file's format is cut off", remedy=_REMEDY)
    kind, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", layout)
    if kind == _EXTENSIBLE and len(layout) >= 26:
        kind = int.from_bytes(layout[24:26], "little")
    if not 1 <= channels <= 32 or not 4000 <= rate <= 192_000 or frame != channels * ((bits + 7) // 8):
        raise Reject(f"the WAV file has {channels} channels, {rate} Hz and frames of {frame} bytes", remedy=_REMEDY)
    count = len(body) // frame
    if count / rate > max_seconds:
        raise Reject(f"the recording takes {count / rate:.1f} s, more than {max_seconds:g} s")
    raw = body[: count * frame]
    with np.errstate(invalid="ignore"):
        flat = _samples(kind, bits, raw)
    if not np.isfinite(flat).all():
        raise Reject("the WAV file contains samples that are not finite numbers", remedy=_REMEDY)
    return Audio(flat.reshape(-1, channels), rate)


def _samples(kind: int, bits: int, raw: memoryview) -> Samples:
    match kind, bits:
        case (1, 8):
            return (np.frombuffer(raw, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
        case (1, 16):
            return np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(2**15)
        case (1, 24):
            three = np.frombuffer(raw, np.uint8).reshape(-1, 3)
            four = np.zeros((len(three), 4), np.uint8)
            four[:, 1:] = three  # the low byte stays 0: the 24-bit sample becomes the upper part of 32 bits
            return (four.view("<i4").ravel() / 2**31).astype(np.float32)
        case (1, 32):
            return (np.frombuffer(raw, "<i4") / 2**31).astype(np.float32)
        case (3, 32):
            return np.frombuffer(raw, "<f4").astype(np.float32)
        case (3, 64):
            return np.frombuffer(raw, "<f8").astype(np.float32)
        case (6, 8):
            return _ALAW_TABLE[np.frombuffer(raw, np.uint8)]
        case (7, 8):
            return _MULAW_TABLE[np.frombuffer(raw, np.uint8)]
    raise Reject(f"the WAV file has samples of format {kind} with {bits} bits", remedy=_REMEDY)


def _mulaw() -> Samples:
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 2**15).astype(np.float32)


def _alaw() -> Samples:
    code = np.arange(256) ^ 0x55
    segment = (code & 0x70) >> 4
    mantissa = (code & 0x0F) << 4
    magnitude = np.where(segment == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 2**15).astype(np.float32)


_ALAW_TABLE: Final = _alaw()
_MULAW_TABLE: Final = _mulaw()
