"""What a decoder has to know of an image."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FRAME_BYTES = 128 << 20
"""Largest frame, compressed and decoded, that is decoded."""


@dataclass(frozen=True, slots=True)
class Image:
    """The Image Pixel module of a compressed image (PS3.3 C.7.6.3)."""

    transfer_syntax_uid: str
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    photometric_interpretation: str
    planar_configuration: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of a decoded frame."""
        return self.rows * self.columns * self.samples_per_pixel * (self.bits_allocated // 8)
