"""mkcerts.py OUT: certificates that sign models, by pyca/cryptography.

OUT/<curve>/key.pem       the signer's key
OUT/<curve>/<name>.pem    its certificate: good, expired, web (of a web server), usage (no purpose, for signatures)
OUT/<curve>/middle.pem    the authority that issued them
OUT/<curve>/root.pem      the authority of that one

Each authority has a key on the same curve and signs with another hash.
"""

import sys
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
HASHES = {"P-256": (hashes.SHA512(), hashes.SHA384()), "P-384": (hashes.SHA384(), hashes.SHA256()),
          "P-521": (hashes.SHA256(), hashes.SHA512())}
USAGES = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
          "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, hash, authority=False, purpose=None, years=(2024, 2124)):
    issuer_name, issuer_key = issuer or (subject, key)
    usage = "key_cert_sign" if authority else "digital_signature"
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(years[0], 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(years[1], 1, 1, tzinfo=timezone.utc))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{each: each == usage for each in USAGES}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if purpose:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.sign(issuer_key, hash)


for curve, kind in CURVES.items():
    out = Path(sys.argv[1]) / curve
    out.mkdir(parents=True)
    root, middle, signer = (ec.generate_private_key(kind) for _ in range(3))
    high, low = HASHES[curve]
    code = ExtendedKeyUsageOID.CODE_SIGNING
    made = {
        "root": certificate("root", root, None, high, authority=True),
        "middle": certificate("middle", middle, ("root", root), high, authority=True),
        "good": certificate("models", signer, ("middle", middle), low, purpose=code),
        "expired": certificate("models", signer, ("middle", middle), low, purpose=code, years=(2024, 2025)),
        "web": certificate("models", signer, ("middle", middle), low, purpose=ExtendedKeyUsageOID.SERVER_AUTH),
        "usage": certificate("models", signer, ("middle", middle), low),
    }
    for file, cert in made.items():
        (out / f"{file}.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key = signer.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (out / "key.pem").write_bytes(key)
