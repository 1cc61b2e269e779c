//! An entry point for fuzzing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::bundle::{Bundle, Method};
use super::roots::Roots;
use super::statement::Signed;

/// Whether the bytes are a bundle whose statement makes sense, whoever has signed it. Its certificates are read on the
/// way, and each is taken for an authority, too.
pub(crate) fn makes_sense(bytes: &[u8]) -> bool {
    let Ok(bundle) = Bundle::parse(bytes) else { return false };
    if let Method::Certificates(chain) = &bundle.method {
        for der in chain {
            let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
            let roots = Roots::from_pem(&format!("{begin}\n{}\n{end}\n", BASE64_STANDARD.encode(der)));
            drop(roots.map(|roots| roots.with_at_signing_time(true).vouch_for(chain, 0)));
        }
    }
    Signed::parse(&bundle.payload).is_ok()
}
