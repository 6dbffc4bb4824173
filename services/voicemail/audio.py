"""Normalize recordings to mono, one rate and one loudness, and compute waveforms. Needs CPU: run it in a thread."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headway import Reject

from . import wav
from .models import VoicemailConfig
from .wav import Samples

_HALF_WIDTH = 16
"""Zero crossings of the resampling filter on each side, for about 60 dB of stop-band attenuation."""
_SILENCE = 1e-5


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording in its stored form: a WAV file, mono and 16 bits."""

    wav: bytes
    rate: int
    seconds: float
    peaks: list[float]


def process(data: bytes, config: VoicemailConfig) -> Recording:
    """Validate and normalize a WAV file.

    Raises:
        Reject: if it is too large, too short, too long or not a readable WAV file.
    """
    if len(data) > config.max_bytes:
        raise Reject(f"the recording has {len(data)} bytes, more than {config.max_bytes}")
    audio = wav.read(data, config.max_seconds)
    if not len(audio.samples) or audio.seconds < config.min_seconds:
        raise Reject(f"the recording takes {audio.seconds:.2f} s, less than {config.min_seconds:g} s")
    rate = config.rate or audio.rate
    mono = audio.samples.mean(axis=1, dtype=np.float32)
    samples = normalised(resampled(mono, audio.rate, rate), config.peak_dbfs, config.max_gain_db)
    return Recording(wav.write(samples, rate), rate, round(len(samples) / rate, 3), peaks(samples, config.peaks))


def normalised(samples: Samples, peak_dbfs: float, max_gain_db: float) -> Samples:
    """Scale samples so that the loudest is at `peak_dbfs`, by at most `max_gain_db`; silence stays unchanged."""
    loudest = float(np.abs(samples).max(initial=0))
    if loudest < _SILENCE:
        return samples
    gain = min(10 ** (peak_dbfs / 20) / loudest, 10 ** (max_gain_db / 20))
    return (samples * np.float32(gain)).astype(np.float32)


def peaks(samples: Samples, buckets: int) -> list[float]:
    """Return the loudest sample of each of `buckets` equal parts, 0 to 1; parts without a sample are 0."""
    edges = np.linspace(0, len(samples), buckets + 1).astype(int)
    loud = np.abs(samples)
    return [round(min(1.0, float(loud[a:b].max(initial=0))), 3) for a, b in pairwise(edges)]


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """Resample with a windowed-sinc filter that removes frequencies above the new limit.

    Output n lies at input n * rate / wanted. The fraction of that position repeats every `up` outputs, so there are
    `up` sets of filter taps, and each set computes every `up`th output in one matrix product.

    Args:
        samples: mono samples.
        rate: their rate per second.
        wanted: the new rate per second.
    """
    if rate == wanted or not len(samples):
        return samples
    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    cutoff = min(1.0, wanted / rate)
    reach = math.ceil(_HALF_WIDTH / cutoff)
    count = math.ceil(len(samples) * wanted / rate)
    padded = np.pad(samples, (reach, 2 * reach + down))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    result = np.empty(count, np.float32)
    offsets = np.arange(-reach, reach + 1)
    for phase in range(min(up, count)):
        whole, fraction = divmod(phase * down, up)
        at = offsets - fraction / up
        taps = np.sinc(at * cutoff) * np.cos(np.pi / 2 * np.clip(at / (reach + 1), -1, 1)) ** 2
        part = result[phase::up]
        part[:] = windows[whole::down][: len(part)] @ (taps / taps.sum()).astype(np.float32)
    return result
