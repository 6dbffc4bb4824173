"""WAV files in, recordings out."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import Reject
from headway.services.voicemail import VoicemailConfig, wav
from headway.services.voicemail.audio import normalised, peaks, process, resampled
from headway.services.voicemail.recordings import segments

CONFIG = VoicemailConfig(min_seconds=0)


def tone(rate=8000, seconds=0.5, hertz=440.0, peak=0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def file_of(body: bytes, kind=1, channels=1, rate=8000, bits=16, frame=None, announced=None, extra=b"") -> bytes:
    frame = channels * bits // 8 if frame is None else frame
    layout = struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)
    announced = len(body) if announced is None else announced
    head = b"RIFF\0\0\0\0WAVE" + extra + b"fmt " + struct.pack("<I", len(layout)) + layout
    return head + b"data" + struct.pack("<I", announced) + body


def pcm16(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


signals = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=300).map(lambda v: np.array(v, np.float32))


@given(signals)
def test_what_is_written_is_read_again(samples):
    audio = wav.read(wav.write(samples, 8000), 60)
    assert audio.rate == 8000
    assert np.allclose(audio.samples[:, 0], samples, atol=1e-4)


def test_what_is_written_the_standard_library_reads():
    with wave.open(io.BytesIO(wav.write(tone(), 8000))) as read:
        assert (read.getnchannels(), read.getsampwidth(), read.getframerate(), read.getnframes()) == (1, 2, 8000, 4000)


@pytest.mark.parametrize(
    ("kind", "bits", "encode", "error"),
    [
        (1, 8, lambda s: (s * 127 + 128).astype(np.uint8).tobytes(), 0.02),
        (1, 16, pcm16, 1e-4),
        (1, 24, lambda s: b"".join(int(v * (2**23 - 1)).to_bytes(3, "little", signed=True) for v in s), 1e-6),
        (1, 32, lambda s: (s.astype(np.float64) * (2**31 - 1)).astype("<i4").tobytes(), 1e-6),
        (3, 32, lambda s: s.astype("<f4").tobytes(), 1e-7),
        (3, 64, lambda s: s.astype("<f8").tobytes(), 1e-7),
    ],
)
def test_samples_of_all_formats_are_read(kind, bits, encode, error):
    samples = tone()
    read = wav.read(file_of(encode(samples), kind=kind, bits=bits), 60).samples[:, 0]
    assert np.abs(read - samples).max() <= error


@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [
        # ITU-T G.711: the smallest and largest values of each sign
        (7, 0xFF, 0),
        (7, 0x7F, 0),
        (7, 0x80, 32124),
        (7, 0x00, -32124),
        (6, 0xD5, 8),
        (6, 0x55, -8),
        (6, 0xAA, 32256),
        (6, 0x2A, -32256),
    ],
)
def test_a_law_and_mu_law_follow_the_recommendation(kind, code, value):
    read = wav.read(file_of(bytes([code]), kind=kind, bits=8), 60).samples
    assert read[0, 0] * 2**15 == value


def test_other_chunks_are_passed_over_and_streamed_sizes_mean_the_rest():
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    data = file_of(pcm16(tone()), extra=extra, announced=0xFFFFFFFF)
    assert wav.read(data, 60).seconds == 0.5


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a WAV"),
        (b"RIFF\0\0\0\0AVI LIST", "not a WAV"),
        (b"RIFF\0\0\0\0WAVE", "no samples"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "before their format"),
        (file_of(bytes(10), announced=100), "cut off"),
        (file_of(bytes(10), kind=85), "format 85"),
        (file_of(bytes(10), channels=0, frame=0), "0 channels"),
        (file_of(bytes(10), rate=1), "1 Hz"),
        (file_of(struct.pack("<f", float("nan")), kind=3, bits=32), "not finite numbers"),
        (file_of(bytes(16_001 * 2 * 60)), "more than 60 s"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_cause(data, why):
    with pytest.raises(Reject, match=why):
        wav.read(data, 60)


@given(st.binary(max_size=200))
def test_nothing_that_is_sent_breaks_the_reader(noise):
    for data in (noise, b"RIFF\0\0\0\0WAVE" + noise, file_of(noise), wav.write(tone(), 8000)[:40] + noise):
        try:
            process(data, CONFIG)
        except Reject:
            continue


@given(signals, st.floats(-20, 0))
def test_the_loudest_sample_is_where_it_is_wanted(samples, peak):
    result = np.abs(normalised(samples, peak, 200)).max()
    if float(np.abs(samples).max()) < 1e-5:
        assert result == np.abs(samples).max()
    else:
        assert result == pytest.approx(10 ** (peak / 20), rel=1e-3)


def test_noise_is_not_made_loud():
    assert np.abs(normalised(tone(peak=1e-4), -1, 40)).max() == pytest.approx(1e-2, rel=1e-2)


@given(signals, st.integers(1, 50))
def test_peaks_are_as_many_as_asked_for_and_know_the_loudest(samples, buckets):
    found = peaks(samples, buckets)
    assert len(found) == buckets
    assert all(0 <= each <= 1 for each in found)
    assert max(found) == pytest.approx(float(np.abs(samples).max()), abs=1e-3)


def test_peaks_follow_the_sound():
    assert peaks(np.concatenate([tone(peak=0.2), tone(peak=0.8)]), 2) == pytest.approx([0.2, 0.8], abs=0.01)


@pytest.mark.parametrize(("rate", "wanted"), [(48_000, 8000), (44_100, 8000), (11_025, 8000), (8000, 16_000)])
def test_resampling_keeps_duration_and_tone(rate, wanted):
    result = resampled(tone(rate), rate, wanted)
    assert len(result) == pytest.approx(0.5 * wanted, abs=1)
    assert np.abs(result - tone(wanted)[: len(result)])[50:-50].max() < 1e-3


def test_resampling_takes_away_what_would_fold_back():
    assert np.abs(resampled(tone(48_000, hertz=6000), 48_000, 8000))[50:-50].max() < 0.005


def test_a_recording_is_mono_8_khz_and_at_minus_1_db():
    stereo = np.stack([tone(44_100), tone(44_100)], axis=1)
    recording = process(file_of(pcm16(stereo), channels=2, rate=44_100), CONFIG)
    assert (recording.rate, recording.seconds, len(recording.peaks)) == (8000, 0.5, 100)
    assert np.abs(wav.read(recording.wav, 60).samples).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)


def test_a_version_may_keep_the_rate_that_comes():
    config = VoicemailConfig(rate=None, min_seconds=0)
    assert process(file_of(pcm16(tone(16_000)), rate=16_000), config).rate == 16_000


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"max_bytes": 1024}, "more than 1024"),
        ({"min_seconds": 1}, "less than 1 s"),
        ({"max_seconds": 0.1}, "more than 0.1 s"),
    ],
)
def test_recordings_out_of_bounds_are_refused_with_their_cause(config, why):
    with pytest.raises(Reject, match=why):
        process(wav.write(tone(), 8000), VoicemailConfig(**config))


@given(st.binary(min_size=1, max_size=300), st.integers(1, 50), st.data())
def test_segments_make_up_any_range(data, size, draw):
    start = draw.draw(st.integers(0, len(data) - 1))
    length = draw.draw(st.integers(1, len(data) - start))
    stored = [data[i : i + size] for i in range(0, len(data), size)]
    parts = [stored[n][a:b] for n, a, b in segments(start, length, size)]
    assert b"".join(parts) == data[start : start + length]
    assert all(parts)
