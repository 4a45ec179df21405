//! Signs the requests of webhooks, so that receivers can tell who sent them and when.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The header that carries the signature.
pub(super) const SIGNATURE_HEADER: &str = "X-Lookalike-Signature";

/// Returns the value of the signature header: `t=UNIX,v1=HEX`, where HEX is the HMAC-SHA256 of
/// `UNIX.BODY` with the secret as its key (RFC 2104).
pub(super) fn sign_request(secret: &str, unix_seconds: i64, body: &[u8]) -> String {
    let mut hmac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC accepts keys of any length");
    hmac.update(format!("{unix_seconds}.").as_bytes());
    hmac.update(body);
    let digest = hmac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix_seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `hmac.new(b"whsec_test", b"1700000000.{}", "sha256")` of Python.
    #[test]
    fn the_signature_is_that_of_other_implementations() {
        assert_eq!(
            sign_request("whsec_test", 1_700_000_000, b"{}"),
            "t=1700000000,v1=35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91"
        );
    }
}
