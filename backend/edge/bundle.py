"""The edge bundle: one compressed file with a model, what it expects and who it is.

Layout before compression with Zstandard: the length of the manifest (4 bytes, big-endian), the
manifest as JSON, the model as ONNX. Who knows the registered SHA-256 of the file knows that nothing
in it was altered.
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = "tasco-edge/1"
LEVEL = 19
LARGEST_BYTES = 64_000_000  # after decompression; a model is a few hundred kilobytes


class BundleRefused(Exception):
    """The bundle is not the registered one, or is none at all."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known about the model in a bundle.

    Attributes:
        model_id: Its version.
        kind: What it foretells.
        model_sha256: Hash of the registered artifact it was made of.
        trained_at: When, ISO 8601.
        features: Columns it expects, in order.
        nan_is_zero: Positions of the columns in which a missing value counts as 0.
        conformal: What its answers are corrected by, and how wide their bands are.
        onnx_sha256: Hash of the ONNX.
        parity_max: Largest difference from the model it was made of.
        rows_checked: Over how many rows.
    """

    model_id: str
    kind: str
    model_sha256: str
    trained_at: str
    features: tuple[str, ...]
    nan_is_zero: tuple[int, ...]
    conformal: Mapping[str, Any]
    onnx_sha256: str
    parity_max: float
    rows_checked: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose hash was the expected one."""

    manifest: Manifest
    onnx: bytes
    sha256: str


def pack(manifest: Manifest, onnx: bytes) -> bytes:
    """The file's bytes; the same model and manifest give the same file."""
    import zstandard  # noqa: PLC0415  # only who packs or unpacks needs it

    document = {"format": FORMAT, **asdict(manifest)}
    head = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    whole = struct.pack(">I", len(head)) + head + onnx
    return zstandard.ZstdCompressor(level=LEVEL).compress(whole)


def unpack(data: bytes, *, sha256: str) -> Bundle:
    """Open a bundle.

    Args:
        data: The file's bytes.
        sha256: The registered hash of the file, hexadecimal.

    Raises:
        BundleRefused: If the file has another hash, or is no bundle of this format.
    """
    import zstandard  # noqa: PLC0415  # only who packs or unpacks needs it

    found = hashlib.sha256(data).hexdigest()
    if not hmac.compare_digest(found, sha256.strip().lower()):
        raise BundleRefused(f"The bundle's hash is {found}, registered is {sha256}.")
    try:
        whole = zstandard.ZstdDecompressor().decompress(data, max_output_size=LARGEST_BYTES)
        (length,) = struct.unpack_from(">I", whole)
        document = json.loads(whole[4 : 4 + length])
        onnx = whole[4 + length :]
        if document.pop("format") != FORMAT:
            raise BundleRefused("The bundle has another format.")
        for name in ("features", "nan_is_zero"):
            document[name] = tuple(document[name])
        manifest = Manifest(**document)
    except (zstandard.ZstdError, struct.error, ValueError, KeyError, TypeError) as error:
        raise BundleRefused("The file is no edge bundle.") from error
    if hashlib.sha256(onnx).hexdigest() != manifest.onnx_sha256:
        raise BundleRefused("The model in the bundle is not the one its manifest names.")
    return Bundle(manifest, onnx, found)
