"""From a recording to Whisper's input: WAV or FLAC bytes -> 16 kHz mono samples -> log-mel spectrogram. On the host.

One NumPy implementation for every framework. soundfile and soxr are imported where they are used: a worker that runs no
pipeline needs neither. The definition is that of Radford et al. 2022 (arXiv:2212.04356, section 2.2) as openai-whisper
20250625 computes it; ``benchmarks/peers/whisper/parity.py`` compares the two.
"""

from __future__ import annotations

import io
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import TensorError, UsageError
from bench.workload import Arrays

Array = np.ndarray[Any, Any]

SAMPLE_RATE = 16_000
WINDOW = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms, one mel frame
#: Frames of the spectrogram of 30 s, what every published size takes.
FRAMES = 3000
#: libsndfile's names of the containers that are read.
CONTAINERS = ("WAV", "WAVEX", "RF64", "FLAC")
WANTED = "wanted a WAV (8-bit unsigned, 16, 24 or 32-bit, float) or FLAC file with at least one sample"
#: Sizes that a program writes into a WAV whose length it does not know yet: "as far as the file goes".
_OPEN_ENDED = (0, 0xFFFFFFFF)


def asset() -> Path:
    """The spoken clip that ships: 15.4 s of English, 16 kHz mono FLAC; ``assets/README.md`` says where it is from."""
    return Path(__file__).parent / "assets" / "speech.flac"


def decode(data: bytes, name: str = "recording") -> Array:
    """The samples of a WAV or FLAC file: float32 (n,), mono, 16 kHz, in [-1, 1].

    Channels are averaged; other rates go through soxr's HQ resampler. What a float file holds beyond full scale is
    clipped, as upstream's 16-bit intermediate does.

    Raises:
        TensorError: the bytes are empty, no such file, cut off, without a sample, or hold NaN or infinity.
    """
    import soundfile
    import soxr

    if not data:
        raise TensorError(f"{name} is empty (0 bytes); {WANTED}")
    _refuse_cut_wav(data, name)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            container, rate = file.format, file.samplerate
            channels = file.read(dtype="float32", always_2d=True)  # (n, channels)
    except soundfile.LibsndfileError as error:
        raise TensorError(f"{name} cannot be read to its end ({error}); {WANTED}") from error
    if container not in CONTAINERS:
        raise TensorError(f"{name} is a file of type {container}; {WANTED}")
    if not len(channels):
        raise TensorError(f"{name} holds no samples (a clip of zero length); {WANTED}")
    wrong = np.flatnonzero(~np.isfinite(channels).all(axis=1))
    if wrong.size:
        raise TensorError(f"{name} holds NaN or infinity at {wrong.size} samples, the first at {wrong[0] / rate:.3f} s")
    samples = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
        if not len(samples):
            raise TensorError(f"{name} is shorter than one sample at 16 kHz; {WANTED}")
    return np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)


def _refuse_cut_wav(data: bytes, name: str) -> None:
    """libsndfile reads a WAV that was cut off as a shorter one, without a word: compare the declared length.

    Raises:
        TensorError: the data chunk says that it is longer than what is there.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return
    start = 12
    while start + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, start)
        start += 8
        if kind == b"data":
            if size not in _OPEN_ENDED and start + size > len(data):
                raise TensorError(
                    f"{name} is cut off: {len(data) - start} of {size} bytes of sound are there; {WANTED}"
                )
            return
        start += size + size % 2


def load(path: Path) -> Array:
    """The samples of the file at ``path``; see ``decode``.

    Raises:
        UsageError: there is no such file.
        TensorError: see ``decode``; names the file.
    """
    return decode(_bytes(path), str(path))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the recording {str(path)!r}: {error.strerror}") from error


# --- spectrogram -----------------------------------------------------------------------------------------------------


def mel_of_hertz(hertz: Array) -> Array:
    """Slaney's scale (Auditory Toolbox, 1998): 3 mel per 200 Hz up to 1 kHz, then 27 mel per factor of 6.4."""
    above = np.maximum(hertz, 1000.0)
    return np.where(hertz < 1000.0, hertz * 3 / 200, 15 + 27 * np.log(above / 1000.0) / np.log(6.4))


def hertz_of_mel(mel: Array) -> Array:
    """The inverse of ``mel_of_hertz``."""
    above = np.maximum(mel, 15.0)
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * np.exp((above - 15) / 27 * np.log(6.4)))


@cache
def mel_filters(n_mels: int) -> Array:
    """Triangles of equal area, evenly spaced in mel between 0 and 8 kHz: (n_mels, 201) float32, rows are filters."""
    bins = np.arange(WINDOW // 2 + 1) * (SAMPLE_RATE / WINDOW)  # (201,) Hz
    top = mel_of_hertz(np.asarray(SAMPLE_RATE / 2))
    corners = hertz_of_mel(np.linspace(0.0, float(top), n_mels + 2))
    low, middle, high = (corners[i : i + n_mels, None] for i in range(3))
    triangles = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    filters = (np.maximum(triangles, 0.0) * (2.0 / (high - low))).astype(np.float32)
    filters.flags.writeable = False
    return filters


@cache
def _hann() -> Array:
    """The periodic Hann window: (400,) float32."""
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    window.flags.writeable = False
    return window


def log_mel(samples: Array, n_mels: int, frames: int = FRAMES) -> Array:
    """Whisper's spectrogram of ``samples`` (n,) at 16 kHz: (n_mels, frames) float32, 10 ms a frame.

    The recording is cut, or padded with silence, to ``frames`` x 160 samples. Power of a centred, reflect-padded,
    Hann-windowed DFT; mel filters; log10, at most 8 (80 dB) below the loudest; then (x + 4) / 4.

    Only frames that touch the recording are transformed: those of the padding have no power, which is known.
    """
    wanted = frames * HOP
    samples = np.asarray(samples[:wanted], np.float32)
    # The last frame that a sample reaches lies half a window after it; reflection at the end needs real padding only
    # where the recording goes so far.
    sounding = min(frames, -(-(len(samples) + WINDOW // 2) // HOP))
    padded = np.pad(samples, (0, wanted - len(samples)))
    padded = np.pad(padded, WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: sounding * HOP : HOP]  # (sounding, 400)
    spectrum = np.fft.rfft(windows * _hann())  # (sounding, 201)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    energy = np.zeros((n_mels, frames), np.float32)
    energy[:, :sounding] = mel_filters(n_mels) @ power.T
    decades = np.log10(np.maximum(energy, 1e-10))
    return (np.maximum(decades, decades.max() - 8.0) + 4.0) / 4.0


# --- pipeline --------------------------------------------------------------------------------------------------------


def preprocess(inputs: Arrays, n_mels: int, frames: int = FRAMES) -> Array:
    """``files`` uint8 (B, longest) and their ``lengths`` int32 (B,) -> log-mel, float32 (B, n_mels, frames).

    Raises:
        TensorError: a file cannot be decoded; says which.
    """
    files, lengths = inputs["files"], inputs["lengths"]
    spectrograms = [
        log_mel(decode(row[:length].tobytes(), f"recording {index} of {len(files)}"), n_mels, frames)
        for index, (row, length) in enumerate(zip(files, lengths, strict=True), start=1)
    ]
    return np.stack(spectrograms)


def file_inputs(path: Path, batch: int) -> Arrays:
    """``files`` and ``lengths`` for ``preprocess``: the bytes of ``path``, ``batch`` times.

    Raises:
        UsageError: there is no such file.
        TensorError: it is no recording that can be decoded; found here, before anything is measured.
    """
    data = _bytes(path)
    decode(data, str(path))
    row = np.frombuffer(data, np.uint8)
    return {"files": np.tile(row, (batch, 1)), "lengths": np.full(batch, len(data), np.int32)}
