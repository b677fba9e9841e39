"""Recordings to log-mel spectrograms: every kind of file that is taken, each damage that is refused, the definition."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bench.errors import TensorError, UsageError
from workloads.whisper import audio

Array = np.ndarray[Any, Any]


def tone(hertz: float = 1000.0, seconds: float = 1.0, rate: int = 16_000, height: float = 0.5) -> Array:
    """A sine, float32 (n,)."""
    return (height * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def written(samples: Array, rate: int = 16_000, container: str = "WAV", subtype: str | None = None) -> bytes:
    """The bytes of a file that holds ``samples`` (n,) or (n, channels)."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


@pytest.fixture(scope="module")
def clip() -> bytes:
    """The FLAC that ships."""
    return audio.asset().read_bytes()


# --- decoding --------------------------------------------------------------------------------------------------------


def test_the_asset_is_speech_of_the_stated_length(clip: bytes) -> None:
    """10 to 30 s, small, loud enough, and alive in every second but the last half."""
    samples = audio.load(audio.asset())
    assert samples.dtype == np.float32
    assert samples.shape == (245_808,)
    assert len(clip) < 300_000
    assert 0.5 < np.abs(samples).max() <= 1.0
    assert min(np.abs(second).max() for second in samples[: 15 * 16_000].reshape(15, -1)) > 0.1


@pytest.mark.parametrize(
    ("subtype", "step"),
    [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-24), ("FLOAT", 0.0), ("DOUBLE", 0.0)],
)
def test_every_wav_subtype_gives_the_same_samples(subtype: str, step: float) -> None:
    """To within a step of its quantisation: an unsigned 8-bit file read as signed would be far off."""
    samples = tone()
    decoded = audio.decode(written(samples, subtype=subtype))
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, samples, atol=1.01 * step)


def test_flac_is_read_and_other_containers_are_refused_by_name() -> None:
    """Ogg would be read by libsndfile, but not told from a cut one."""
    np.testing.assert_allclose(audio.decode(written(tone(), container="FLAC")), tone(), atol=2**-15)
    with pytest.raises(TensorError, match="of type OGG; wanted a WAV"):
        audio.decode(written(tone(), container="OGG"))


def test_channels_are_averaged() -> None:
    """Not summed, and not the first alone."""
    stereo = np.stack([tone(1000.0), tone(300.0)], axis=1)
    np.testing.assert_allclose(audio.decode(written(stereo, subtype="FLOAT")), stereo.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_lands_in_the_same_mel_bin(rate: int) -> None:
    """A tone of 1 kHz stays one, keeps its length and its level; unresampled it would be another."""
    decoded = audio.decode(written(tone(rate=rate), rate=rate))
    assert abs(len(decoded) - 16_000) <= 1
    here, wanted = (audio.log_mel(samples, 80, 100) for samples in (decoded, tone()))
    assert np.argmax(here[:, 50]) == np.argmax(wanted[:, 50])
    np.testing.assert_allclose(here[:, 50].max(), wanted[:, 50].max(), atol=0.01)
    unresampled = audio.log_mel(tone(rate=rate), 80, 100)
    assert np.argmax(unresampled[:, 30]) != np.argmax(wanted[:, 50])


def test_beyond_full_scale_is_clipped() -> None:
    """A float file may hold more than 1; upstream's 16-bit intermediate cannot."""
    assert np.abs(audio.decode(written(tone(height=1.5), subtype="FLOAT"))).max() == 1.0


def poisoned(value: float) -> bytes:
    """A float WAV with one bad sample at 0.25 s."""
    samples = tone()
    samples[4000] = value
    return written(samples, subtype="FLOAT")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda clip: b"", r"is empty \(0 bytes\); wanted a WAV"),
        (lambda clip: b"RIFF", "cannot be read"),
        (lambda clip: bytes(range(256)) * 8, "cannot be read"),
        (lambda clip: clip[:42], "cannot be read"),
        (lambda clip: clip[: len(clip) // 2], "cannot be read to its end"),
        (lambda clip: clip[:-1], "cannot be read to its end"),
        (lambda clip: clip[:9000] + bytes(50) + clip[9050:], "cannot be read to its end"),
        (lambda clip: written(tone())[:-1], "is cut off: 31999 of 32000 bytes"),
        (lambda clip: written(tone())[:44], "is cut off: 0 of 32000 bytes"),
        (lambda clip: written(np.zeros(0, np.float32)), "no samples .*zero length"),
        (lambda clip: poisoned(np.nan), "NaN or infinity at 1 samples, the first at 0.250 s"),
        (lambda clip: poisoned(np.inf), "NaN or infinity at 1 samples"),
    ],
)
def test_damage_is_refused_by_name(clip: bytes, damage: Callable[[bytes], bytes], says: str) -> None:
    """Each message names the recording and what is wrong with it."""
    with pytest.raises(TensorError, match=f"^recording 2 of 3 .*{says}"):
        audio.decode(damage(clip), "recording 2 of 3")


def test_a_wav_of_unknown_length_is_read_to_its_end() -> None:
    """What a recorder or a pipe writes before it knows the length is no damage."""
    data = bytearray(written(tone()))
    data[4:8] = data[40:44] = b"\xff" * 4
    assert len(audio.decode(bytes(data))) == 16_000


# --- spectrogram -----------------------------------------------------------------------------------------------------


@cache
def windowed_dft() -> Array:
    """Hann window times the matrix of the DFT, cosines beside sines: (400, 402)."""
    turns = 2 * np.pi * np.outer(np.arange(400), np.arange(201)) / 400
    window = np.sin(np.pi * np.arange(400) / 400) ** 2
    matrix: Array = window[:, None] * np.concatenate([np.cos(turns), np.sin(turns)], axis=1)
    return matrix


def plainly(samples: Array, n_mels: int, frames: int) -> Array:
    """The definition in float64: every frame, as a product with the matrix of the DFT."""
    padded = np.zeros(frames * 160)
    padded[: len(samples)] = samples[: frames * 160]
    padded = np.concatenate([padded[200:0:-1], padded, padded[-2:-202:-1]])
    spectrum = np.stack([padded[160 * i : 160 * i + 400] for i in range(frames)]) @ windowed_dft()
    power = spectrum[:, :201] ** 2 + spectrum[:, 201:] ** 2
    decades = np.log10(np.maximum(power @ audio.mel_filters(n_mels).astype(np.float64).T, 1e-10)).T
    scaled: Array = (np.maximum(decades, decades.max() - 8) + 4) / 4
    return scaled


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("length", [1, 37, 5_000, 15_639, 15_641, 15_800, 15_999, 16_000, 40_000])
def test_log_mel_is_its_definition(n_mels: int, length: int) -> None:
    """Padded and cut; around the lengths from which reflection at the end and the last frame hear the recording."""
    samples = np.random.RandomState(1).uniform(-1, 1, length).astype(np.float32)
    found = audio.log_mel(samples, n_mels, 100)
    assert found.dtype == np.float32
    assert found.shape == (n_mels, 100)
    np.testing.assert_allclose(found, plainly(samples, n_mels, 100), atol=2e-6)


def test_silence_and_loudness_have_the_values_of_the_definition() -> None:
    """Silence is (log10 1e-10 + 4) / 4 = -1.5 everywhere; a clip spans at most 8 decades, 2 after scaling."""
    # Not to the last bit: how NumPy takes a logarithm of float32 depends on the processor.
    np.testing.assert_allclose(audio.log_mel(np.zeros(100, np.float32), 80, 100), -1.5, atol=1e-6)
    spectrogram = audio.log_mel(audio.load(audio.asset()), 80)
    assert spectrogram.shape == (80, 3000)
    assert spectrogram.max() - spectrogram.min() == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_mel_filters_have_slaneys_shape(n_mels: int) -> None:
    """Known points of the scale, unit area per filter (where it spans enough bins), no filter empty."""
    np.testing.assert_allclose(audio.mel_of_hertz(np.array([0.0, 200.0, 1000.0, 6400.0])), [0, 3, 15, 42])
    hertz = np.linspace(0, 8000, 100)
    np.testing.assert_allclose(audio.hertz_of_mel(audio.mel_of_hertz(hertz)), hertz, atol=1e-9)
    filters = audio.mel_filters(n_mels)
    assert filters.shape == (n_mels, 201)
    assert (filters >= 0).all()
    assert (filters.max(axis=1) > 0).all()
    np.testing.assert_allclose(filters[-20:].sum(axis=1) * 40.0, 1.0, atol=0.05)


# --- pipeline --------------------------------------------------------------------------------------------------------


def test_pipeline_inputs_become_spectrograms(tmp_path: Path, clip: bytes) -> None:
    """Files of different length in one array: what follows a file's own bytes is not read."""
    short = written(tone())
    files = np.full((2, len(clip)), 255, np.uint8)
    files[0], files[1, : len(short)] = np.frombuffer(clip, np.uint8), np.frombuffer(short, np.uint8)
    lengths = np.array([len(clip), len(short)], np.int32)
    found = audio.preprocess({"files": files, "lengths": lengths}, 80, 100)
    assert found.shape == (2, 80, 100)
    np.testing.assert_array_equal(found[0], audio.log_mel(audio.load(audio.asset()), 80, 100))
    np.testing.assert_array_equal(found[1], audio.log_mel(audio.decode(short), 80, 100))
    with pytest.raises(TensorError, match="recording 2 of 2 is cut off"):
        audio.preprocess({"files": files, "lengths": lengths - np.int32(1) * np.array([0, 5], np.int32)}, 80, 100)


def test_a_users_file_is_checked_before_anything_runs(tmp_path: Path) -> None:
    """It is repeated over the batch; a missing or damaged one is named."""
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    good.write_bytes(written(tone()))
    bad.write_bytes(written(tone())[:-100])
    inputs = audio.file_inputs(good, 3)
    assert inputs["files"].shape == (3, 32_044)
    assert inputs["lengths"].tolist() == [32_044] * 3
    assert audio.preprocess(inputs, 80, 100).shape == (3, 80, 100)
    with pytest.raises(TensorError, match=r"bad\.wav is cut off"):
        audio.file_inputs(bad, 1)
    with pytest.raises(UsageError, match=r"missing\.wav.*No such file"):
        audio.load(tmp_path / "missing.wav")


def test_importing_needs_no_codec() -> None:
    """Workers that run no pipeline have no use for soundfile and soxr."""
    code = "import sys, workloads.whisper.audio; print(sorted({'soundfile', 'soxr'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == "[]", done.stderr
