"""How a name becomes a loaded encoder."""

from __future__ import annotations

from typing import cast

from app.families.table import FAMILIES
from app.inference.domain import DOMAIN_ENCODER, Domain
from app.inference.family import Family
from app.inference.protocols import Encoder
from app.inference.sources import EncoderConfig, EncoderSource


def resolve(name: str) -> EncoderSource:
    """The encoder that a name means; raises as `Families.resolve` says."""
    return FAMILIES.resolve("encoder", name)


def load_encoder(source: EncoderSource, config: EncoderConfig) -> Encoder:
    """Load weights and pick the runtime; blocks for seconds and raises as `Families.load` says."""
    return cast(Encoder, FAMILIES.load("encoder", source, config))


def domain_encoder(domain: Domain, config: EncoderConfig) -> str | None:
    """The word for the encoder that a domain's vectors are of; None where it is not on this machine."""
    name, _, fingerprint = domain.encoder.partition("@")
    # an upload may name anything
    return FAMILIES.base_of("encoder", name, fingerprint, config) if name == DOMAIN_ENCODER else None


def locate(name: str, config: EncoderConfig) -> tuple[Family, EncoderSource]:
    """The family of a whole encoder, by its files, and the encoder with these on this machine.

    Raises what `Families.resolve` and `Families.locate` raise.
    """
    source = FAMILIES.locate("encoder", resolve(name), config)
    return FAMILIES.get(source.family), source
