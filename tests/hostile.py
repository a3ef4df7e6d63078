"""Archives and models that are built to be malicious, each a few lines; the service must refuse every one of them."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from safetensors.numpy import save

from app.inference.sources import CHECKPOINTS

MIB = 1 << 20
NOTE = {
    **{"format": 1, "id": "bad", "kind": "classifier", "task": "classification", "method": "head"},
    **{"family": "lite", "base_model": "lite", "base_fingerprint": "0", "labels": ["a", "b"]},
    **{"dim": 8, "temperature": 30.0},
}
Change = Callable[[dict[str, Any]], Any]


def zip_of(files: dict[str, bytes], *, attributes: int = 0) -> bytes:
    """A zip of these files; `attributes` of all of them in the upper half."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            about = zipfile.ZipInfo(name)
            about.external_attr = attributes << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(about, data)
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", target: str = "") -> bytes:
    """One entry of a tar: its header and its data, padded."""
    about = tarfile.TarInfo(name)
    about.type, about.size, about.linkname = kind, len(data), target
    return about.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def pax(text: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """A record of a pax header with one long comment."""
    body = b" comment=" + text + b"\n"
    length = len(body) + len(str(len(body)))
    return member("pax", kind, str(length + (len(str(length)) > len(str(len(body))))).encode() + body)


def central(count: int, name: bytes = b"a", offset: int = 0, packed: int = 0, crc: int = 0) -> bytes:
    """That many equal lines of a zip's directory."""
    sizes = (crc, packed, packed, len(name), 0, 0, 0, 0, 0, offset)
    return (struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, *sizes) + name) * count


def zip_end(count: int, size: int, start: int) -> bytes:
    """The end of a zip's directory."""
    return struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), size, start, 0
    )


def zip64_end(count: int, size: int, start: int, at: int) -> bytes:
    """The same with 64 bits, `at` bytes into the file."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    return record + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + zip_end(0xFFFF, size, start)


def many_named(count: int) -> bytes:
    """A zip of a directory alone."""
    local = b"PK\x03\x04" + bytes(26)
    lines = central(count)
    return local + lines + zip64_end(count, len(lines), len(local), len(local) + len(lines))


def understated(count: int) -> bytes:
    """A zip of folders that says it has five entries."""
    local = b"PK\x03\x04" + bytes(26)
    lines = central(count, b"a/")
    return local + lines + zip_end(5, len(lines), len(local))


def overlapping(count: int, packed: int) -> bytes:
    """A zip whose entries all stand on the same bytes, each whole and named alike: `a`."""
    crc = zlib.crc32(bytes(packed))
    body = (
        struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, crc, packed, packed, 1, 0)
        + b"a"
        + bytes(packed)
    )
    lines = central(count, b"a", 0, packed, crc)
    return body + lines + zip_end(count, len(lines), len(body))


def encrypted() -> bytes:
    """A zip whose entry says it is encrypted."""
    data = bytearray(zip_of({"vision.json": b"{}"}))
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def archives() -> dict[str, Callable[[], bytes]]:
    """Archives that are harmful before anything in them is looked at."""
    return {
        "pax header of 60 MiB": lambda: gzip.compress(pax(b"x" * (60 * MIB)) + member("a"), 1),
        "GNU long name of 60 MiB": lambda: gzip.compress(
            member("l", tarfile.GNUTYPE_LONGNAME, b"n" * (60 * MIB)), 1
        ),
        "GNU long link of 60 MiB": lambda: gzip.compress(
            member("l", tarfile.GNUTYPE_LONGLINK, b"n" * (60 * MIB)), 1
        ),
        "endless pax headers": lambda: gzip.compress(pax(b"x") * 20_000, 1),
        "global headers": lambda: gzip.compress(pax(b"x" * 1_000, tarfile.XGLTYPE) * 100 + member("a"), 1),
        "sparse file": lambda: gzip.compress(member("s", tarfile.GNUTYPE_SPARSE, bytes(512)), 1),
        "tar.gz bomb": lambda: gzip.compress(member("a", data=bytes(150 * MIB)), 1),
        "bomb behind a folder": lambda: gzip.compress(
            member("d/", tarfile.DIRTYPE) + member("d/a", data=bytes(150 * MIB)), 1
        ),
        "many gzip members": lambda: gzip.compress(b"", 1) * 200_000,
        "zip bomb": lambda: zip_of({f"{number}.txt": bytes(40 * MIB) for number in range(4)}),
        "two million names": lambda: many_named(2_000_000),
        "a directory longer than it says": lambda: understated(500_000),
        "entries over one another": lambda: overlapping(150, MIB),
        "the same name twice": lambda: gzip.compress(member("a.txt", data=b"x") * 2),
        "encrypted": lambda: encrypted(),
        "no end of a zip": lambda: b"PK\x03\x04" + bytes(MIB),
        "symbolic link": lambda: zip_of({"evil.json": b"/etc/passwd"}, attributes=0o120777),
        "hard link": lambda: gzip.compress(
            member("a.txt", data=b"x") + member("b.txt", tarfile.LNKTYPE, target="a.txt")
        ),
        "device": lambda: gzip.compress(member("a.txt", tarfile.CHRTYPE)),
        "out of its folder": lambda: zip_of({"../evil.json": b"x"}),
        "a name that no store takes": lambda: zip_of({"vision.json": b"{}", "a name.txt": b"x"}),
        "a hidden name": lambda: zip_of({"vision.json": b"{}", ".hidden.txt": b"x"}),
        "five thousand files": lambda: zip_of({f"{number}.txt": b"x" for number in range(5_000)}),
        "no archive": lambda: b"just some text " * 100_000,
    }


def head(**changes: Any) -> dict[str, bytes]:
    """A classifier's files."""
    rows = np.eye(4, 8, dtype=np.float32)
    weights = {
        "exemplars": rows,
        "owners": np.array([0, 0, 1, 1]),
        "rows": rows[:2],
        "bias": np.zeros(2, np.float32),
    }
    return {"vision.json": json.dumps({**NOTE, **changes}).encode(), "head.safetensors": save(weights)}


def adapter(**changes: Any) -> dict[str, bytes]:
    """A LoRA adapter over clip-tiny whose configuration has these fields."""
    config = {
        "peft_type": "LORA",
        "r": 2,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": "clip-tiny",
    }
    name = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    return head(base_model="clip-tiny", family="clip", adapted="peft") | {
        "adapter_config.json": json.dumps(config | changes).encode(),
        "adapter_model.safetensors": save({name: np.zeros((2, 64), np.float32)}),
    }


def whole(**changes: Change) -> dict[str, bytes]:
    """A whole vision-language model; each change gets the JSON of its file and returns what to write."""
    files = {
        path.name: path.read_bytes() for path in (CHECKPOINTS / "llava-shapes").iterdir() if path.is_file()
    }
    note = {"format": 1, "id": "bad", "kind": "vlm", "task": "vqa", "method": "finetune", "family": "llava"}
    files["vision.json"] = json.dumps({**note, "base_model": "llava-shapes", "tasks": ["vqa"]}).encode()
    for name, change in changes.items():
        file = f"{name}.json"
        files[file] = json.dumps(change(json.loads(files.get(file, b"{}")))).encode()
    return files


def steps(part: str, *listed: dict[str, Any]) -> Change:
    """A tokenizer with these steps in one of its parts."""
    inner = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}[part]
    return lambda read: {**read, part: {"type": "Sequence", inner: list(listed)}}


def replaced(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def inner(part: str, **fields: Any) -> Change:
    """A configuration with other fields in one of its parts."""
    return lambda read: {**read, part: {**read[part], **fields}}


def template(text: str) -> dict[str, bytes]:
    return whole() | {"chat_template.jinja": text.encode()}


DOUBLING = (
    "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
)
DOUBLING_BLOCKS = (
    "{% set n = namespace(x='ab') %}"
    "{% for i in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}"
)
LOOPS = "{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3
EVIL = "(([a-z._0-9]+)+)+$"


def models() -> dict[str, Callable[[], dict[str, bytes]]]:
    """Models whose files ask for more than any model needs."""
    double = replaced({"String": "a"}, "aa")
    return {
        "target_modules as a pattern": lambda: adapter(target_modules=EVIL),
        "exclude_modules as a pattern": lambda: adapter(exclude_modules=EVIL),
        "a pattern among names": lambda: adapter(target_modules=[EVIL]),
        "rank_pattern": lambda: adapter(rank_pattern={EVIL: 2}),
        "alpha_pattern": lambda: adapter(alpha_pattern={EVIL: 2}),
        "layers_pattern": lambda: adapter(layers_pattern=[EVIL], layers_to_transform=[0]),
        "modules_to_save as text": lambda: adapter(modules_to_save="(a+)+$"),
        "a rank of a billion": lambda: adapter(r=10**9),
        "a normaliser that doubles": lambda: whole(tokenizer=steps("normalizer", *[double] * 20)),
        "a normaliser that grows": lambda: whole(
            tokenizer=steps("normalizer", replaced({"String": "a"}, "a" * 500))
        ),
        "a hostile pattern": lambda: whole(
            tokenizer=steps(
                "pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a|a)*b"}, "behavior": "Removed"}
            )
        ),
        "a pattern of repetitions": lambda: whole(
            tokenizer=steps("normalizer", replaced({"Regex": "((a{9999}){9999}){9999}"}, "b"))
        ),
        "a hundred steps": lambda: whole(tokenizer=steps("normalizer", *[{"type": "Lowercase"}] * 100)),
        "padding of four billion": lambda: whole(
            tokenizer=lambda read: {**read, "padding": {"strategy": {"Fixed": 4 * 10**9}}}
        ),
        "added tokens": lambda: whole(
            tokenizer=lambda read: {
                **read,
                "added_tokens": [{"id": number, "content": f"t{number}"} for number in range(50_000)],
            }
        ),
        "a vocabulary of a million": lambda: whole(
            tokenizer=inner("model", vocab={f"w{number}": number for number in range(1_000_000)})
        ),
        "images of a million pixels a side": lambda: whole(
            processor_config=inner("image_processor", size={"height": 10**6, "width": 10**6})
        ),
        "a million patches": lambda: whole(
            processor_config=lambda read: {
                **read,
                "patch_size": 1,
                "image_processor": {**read["image_processor"], "size": {"height": 2_048, "width": 2_048}},
            }
        ),
        "an image token of a book": lambda: whole(
            processor_config=lambda read: {**read, "image_token": "<image>" * 9_999}
        ),
        "a million beams": lambda: whole(generation_config=lambda read: {**read, "num_beams": 10**6}),
        "a million tokens an image": lambda: whole(config=lambda read: {**read, "image_seq_length": 10**6}),
        "ten thousand layers": lambda: whole(config=inner("text_config", num_hidden_layers=10_000)),
        "ten million labels": lambda: whole(config=lambda read: {**read, "num_labels": 10_000_000}),
        "a hundred thousand fields": lambda: whole(
            config=lambda read: {**read, **{f"field{number}": 1 for number in range(100_000)}}
        ),
        "a vocabulary of nine million": lambda: whole(config=inner("text_config", vocab_size=9_000_000)),
        "patches of one pixel": lambda: whole(config=inner("vision_config", image_size=4_096, patch_size=1)),
        "code of its own": lambda: whole(
            config=lambda read: {**read, "auto_map": {"AutoModel": "evil.Model"}}
        ),
        "files of this machine": lambda: whole(
            tokenizer_config=lambda read: {**read, "vocab_file": "/etc/passwd"}
        ),
        "a template of loops": lambda: template(LOOPS),
        "a template that doubles": lambda: template(DOUBLING),
        "a template of blocks that double": lambda: template(DOUBLING_BLOCKS),
        "a template that multiplies": lambda: template("{{ 'a' * 10 ** 10 }}"),
        "a template elsewhere": lambda: whole(tokenizer_config=lambda read: {**read, "chat_template": LOOPS}),
        "a template of a megabyte": lambda: template("{{ messages }}" * 80_000),
        "deep JSON": lambda: head() | {"config.json": b"[" * 500_000},
        "a key twice": lambda: head() | {"vision.json": b'{"id": "bad", "id": "good"}'},
        "JSON of 40 MiB": lambda: head() | {"config.json": b"[" + b"0," * (20 * MIB) + b"0]"},
        "a header of an exabyte": lambda: head() | {"head.safetensors": struct.pack("<Q", 1 << 60) + b"{}"},
        "a header of 90 MiB": lambda: (
            head() | {"head.safetensors": struct.pack("<Q", 90 * MIB) + b" " * (90 * MIB)}
        ),
        "a shape of the universe": lambda: (
            head()
            | {
                "head.safetensors": _tensors(
                    {"rows": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}
                )
            }
        ),
        "pickled weights": lambda: head() | {"pytorch_model.bin": b"\x80\x04."},
        "features of a million numbers": lambda: head(dim=10**6),
    }


def _tensors(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4)


def cases() -> dict[str, Callable[[], bytes]]:
    """Every archive and model by its name: what makes the bytes of an upload."""
    return archives() | {name: partial(_pack, make) for name, make in models().items()}


def _pack(make: Callable[[], dict[str, bytes]]) -> bytes:
    return zip_of(make())
